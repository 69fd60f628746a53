"""Tasks: find the clusters, and check that everything is there before anything is touched."""

from __future__ import annotations

from compass import markdown
from compass.job import Job
from compass.steps import preflight as core
from compass.steps.lock import refuse_locked
from compass.steps.preflight import Findings
from compass.steps.prepare import Prepared
from compass.steps.workplace import Target
from tasks.step import publish, step, workplace


@step("find clusters")
def find_targets(job: Job) -> list[Target]:
    """Return the clusters to work on, the control cluster first (``compass.steps.workplace``)."""
    with workplace(job) as place:
        targets = list(place.targets)
    rows = [(x.name, x.role, x.endpoint, x.problem) for x in targets]
    text = markdown.table(("cluster", "role", "endpoint", "problem"), rows)
    publish("clusters", text, f"{len(targets)} clusters: {', '.join(x.name for x in targets[:20])}")
    return targets


@step("preflight registry")
def preflight_site(job: Job, prepared: Prepared) -> Findings:
    """Check the registry and the space (``compass.steps.preflight``)."""
    with workplace(job) as place:
        findings = core.preflight_site(place, prepared.archives)
    publish("preflight-registry", markdown.bulleted("Registry", findings.lines), "; ".join(findings.lines))
    return findings


@step("preflight")
def preflight_cluster(job: Job, target: Target) -> Findings:
    """Check that nobody is at work on a cluster, that it answers, and that it lets us do all that we shall.

    See ``compass.steps.preflight`` and ``compass.steps.lock``.
    """
    with workplace(job, target.name) as place:
        refuse_locked(place, target)
        findings = core.preflight_cluster(place, target)
    lines = (*findings.lines, *findings.warnings)
    publish(f"preflight-{target.name}", markdown.bulleted(f"Cluster {target.name}", lines), "; ".join(lines))
    return findings
