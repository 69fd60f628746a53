"""Tasks that change a cluster: delete, apply, wait, remove."""

from __future__ import annotations

from compass import markdown
from compass.change.plan import Plan
from compass.job import Job
from compass.steps import apply as core
from compass.steps.apply import Outcome
from compass.steps.workplace import Target
from tasks.step import publish, step, workplace


@step("delete replaced")
def delete_replaced(job: Job, target: Target, plan: Plan) -> Outcome:
    """Delete what the plan names for deletion before apply (``compass.steps.apply``)."""
    with workplace(job, target.name) as place:
        return _told("delete", target, core.delete_replaced(place, target, plan))


@step("apply")
def apply_plan(job: Job, target: Target, plan: Plan) -> Outcome:
    """Apply what the plan creates and configures (``compass.steps.apply``)."""
    with workplace(job, target.name) as place:
        return _told("apply", target, core.apply_plan(place, target, plan))


@step("wait")
def wait_rolled_out(job: Job, target: Target, plan: Plan) -> Outcome:
    """Wait until everything that the bundle applies is rolled out (``compass.steps.apply``)."""
    with workplace(job, target.name) as place:
        return _told("wait", target, core.wait_rolled_out(place, target, plan))


@step("remove")
def remove_obsolete(job: Job, target: Target, plan: Plan) -> Outcome:
    """Delete the plan's removals and wait until they are gone (``compass.steps.apply``)."""
    with workplace(job, target.name) as place:
        return _told("remove", target, core.remove_obsolete(place, target, plan))


def _told(what: str, target: Target, outcome: Outcome) -> Outcome:
    text = markdown.bulleted(f"{what.capitalize()} on cluster {target.name}", outcome.lines)
    publish(f"{what}-{target.name}", text, f"{what}: {len(outcome.lines)} objects")
    return outcome
