"""Tasks: compute and freeze what would change."""

from __future__ import annotations

from compass import markdown
from compass.change.plan import Plan
from compass.job import Job
from compass.steps import plan as core
from compass.steps.prepare import Prepared
from compass.steps.render import render
from compass.steps.workplace import Target
from tasks.step import publish, step, workplace


@step("plan")
def make_plan(job: Job, target: Target, prepared: Prepared) -> Plan:
    """Return what an upgrade would change on a cluster, by server-side dry run (``compass.steps.plan``)."""
    with workplace(job, target.name) as place:
        plan = core.make_plan(place, target, prepared)
    return told(plan)


@step("render")
def render_all(job: Job, targets: list[Target]) -> int:
    """Render every template for every cluster, so that what is wrong shows before anything is touched."""
    with workplace(job) as place:
        count = sum(len(render(place, target)) for target in targets)
    publish("render", f"{count} objects for {len(targets)} clusters", f"{count} objects for {len(targets)} clusters")
    return count


@step("plan removal")
def make_removal_plan(job: Job, target: Target, prepared: Prepared) -> Plan:
    """Return what ``remove`` would delete on a cluster (``compass.steps.plan``)."""
    with workplace(job, target.name) as place:
        plan = core.make_removal_plan(place, target, prepared)
    return told(plan)


def told(plan: Plan) -> Plan:
    """Publish a plan and return it."""
    counts = ", ".join(f"{n} {action}" for action, n in plan.counts().items() if n) or "nothing to do"
    publish(f"plan-{plan.cluster}", markdown.of_plan(plan), f"cluster {plan.cluster}: {counts}")
    return plan
