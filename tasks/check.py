"""Tasks: prove what the registry has and what the clusters run."""

from __future__ import annotations

from compass import markdown
from compass.job import Job
from compass.steps import check as core
from compass.steps.check import CheckResult, ImageProof
from compass.steps.images import ExpectedImage, expected_images
from compass.steps.prepare import Prepared
from compass.steps.workplace import Target
from tasks.step import publish, step, workplace


@step("expect images")
def expect_images(job: Job, prepared: Prepared) -> list[ExpectedImage]:
    """Return the digests that prove each image of the bundle (``compass.steps.images``)."""
    with workplace(job) as place:
        return expected_images(place, prepared.archives)


@step("check registry")
def check_registry(job: Job, expected: list[ExpectedImage]) -> list[ImageProof]:
    """Compare the registry with the bundle (``compass.steps.check``)."""
    with workplace(job) as place:
        proofs = core.check_registry(place, expected)
    rows = [("equal" if x.is_equal else "different", x.short, x.published, x.reason) for x in proofs]
    text = "\n\n".join(["## Registry", markdown.table(("verdict", "image", "digest", "why"), rows)])
    equal = sum(x.is_equal for x in proofs)
    publish("check-registry", text, f"{equal} of {len(proofs)} images equal in the registry")
    return proofs


@step("check")
def check_cluster(job: Job, target: Target, expected: list[ExpectedImage]) -> CheckResult:
    """Compare what a cluster's pods run with the bundle (``compass.steps.check``)."""
    with workplace(job, target.name) as place:
        result = core.check_cluster(place, target, expected)
    different = len(result.differences)
    line = f"cluster {target.name}: {len(result.evidence)} containers, {different} different"
    publish(f"check-{target.name}", markdown.of_evidence(target.name, result.evidence), line)
    return result
