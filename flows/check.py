"""Flow ``check-cluster``: prove that what one cluster runs is what the bundle holds."""

from __future__ import annotations

from prefect import flow

from compass.errors import StepFailed
from compass.job import Choices, Job, Where
from compass.steps.check import CheckResult
from flows.alive import signs_of_life
from flows.engine import FLOW_SETTINGS
from flows.upgrade import only
from tasks import bundle as bundles
from tasks import check, sites


@flow(name="check-cluster", flow_run_name="check {cluster}", **FLOW_SETTINGS)
def check_cluster(bundle: str, cluster: str, where: Where = Where(), choices: Choices = Choices()) -> CheckResult:
    """Compare the registry and the pods of one cluster with the bundle.

    Args:
        bundle: path of the bundle on the machine that runs this.
        cluster: name of the cluster.
        where: how to reach it, and its registry.
        choices: how to go about it.

    Raises:
        StepFailed: something differs; the artifacts say what.
    """
    with signs_of_life():
        job = Job(bundle=bundle, where=where.model_copy(update={"clusters": (cluster,)}), choices=choices)
        prepared = bundles.prepare(job)
        target = only(sites.find_targets(job))
        expected = check.expect_images(job, prepared)
        proofs = check.check_registry(job, expected)
        result = check.check_cluster(job, target, expected)
        wrong = [f"{x.short}: {x.reason}" for x in proofs if not x.is_equal]
        wrong += [f"{x.workload}: {x.image} {x.verdict} {x.reason}".rstrip() for x in result.differences]
        if wrong:
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise StepFailed("check cluster", target.name, found=wrong[0] + more, expected="what the bundle holds")
        return result
