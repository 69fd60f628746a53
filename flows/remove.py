"""Flow ``remove-components``: delete from a control cluster the Releases that the new version no longer has."""

from __future__ import annotations

from prefect import flow

from compass.clock import system_clock
from compass.job import Choices, Job, Where
from compass.report import ClusterReport, Journal
from compass.steps.failure import after_failure
from compass.steps.prepare import Prepared
from compass.steps.workplace import Target
from flows.engine import FLOW_SETTINGS, as_known, best_effort
from flows.upgrade import only
from tasks import apply, backup, plan, record, sites
from tasks import bundle as bundles


@flow(name="remove-components", flow_run_name="remove {cluster}", **FLOW_SETTINGS)
def remove_components(bundle: str, cluster: str, where: Where = Where(), choices: Choices = Choices()) -> ClusterReport:
    """Remove what the bundle names, only after a verified backup, and wait until it is gone.

    Args:
        bundle: path of the bundle on the machine that runs this.
        cluster: name of the cluster; a user cluster holds nothing to remove.
        where: how to reach it.
        choices: how to go about it.

    Raises:
        CompassError: the first thing that went wrong; the report of the cluster is published before.
    """
    job = Job(bundle=bundle, where=where.model_copy(update={"clusters": (cluster,)}), choices=choices)
    prepared = bundles.prepare(job)
    return remove_from(job, only(sites.find_targets(job)), prepared)


def remove_from(job: Job, target: Target, prepared: Prepared) -> ClusterReport:
    """Plan, back up and remove on one cluster, inside whatever flow is running.

    Raises:
        CompassError: the first thing that went wrong; its ``report`` is the cluster's.
    """
    journal = Journal(target.name, target.role, system_clock())
    try:
        acted = _steps(job, target, prepared, journal)
    except Exception as error:
        known = as_known(error, f"cluster {target.name}")
        left = after_failure(job, target, journal.plan, journal.backup, None, str(known), journal.current)
        known.report = journal.close("failed", known, left)
        best_effort(record.report_cluster, target, known.report)
        raise known from error
    report = journal.close("upgraded" if acted else "unchanged")
    record.report_cluster(target, report)
    return report


def _steps(job: Job, target: Target, prepared: Prepared, journal: Journal) -> bool:
    with journal.step("plan removal") as lines:
        planned = journal.plan = plan.make_removal_plan(job, target, prepared)
        journal.counts = {k: v for k, v in planned.counts().items() if v}
        lines += [f"{x.action} {x.ref} {x.reason}".rstrip() for x in planned.removals]
    if not planned.acting:
        return False
    with journal.step("backup") as lines:
        saved = backup.back_up(job, target, prepared, [x.ref for x in planned.removals])
        journal.backup = saved.folder
        lines.append(f"{saved.releases} Releases and {saved.objects} objects in {saved.folder}")
    with journal.step("remove") as lines:
        lines += apply.remove_obsolete(job, target, planned).lines
    return True
