"""Tasks: bring a cluster back to a backup."""

from __future__ import annotations

from pathlib import Path

from compass import markdown
from compass.change.plan import Plan
from compass.job import Job
from compass.steps import restore as core
from compass.steps.restore import Restored, Selection
from compass.steps.workplace import Target
from tasks.plan import told
from tasks.step import publish, step, workplace


@step("plan restore")
def make_restore_plan(job: Job, target: Target, folder: str, selection: Selection) -> Plan:
    """Return what a restore would change on a cluster (``compass.steps.restore``)."""
    with workplace(job, target.name) as place:
        return told(core.make_restore_plan(place, target, Path(folder), selection))


@step("restore")
def restore(job: Job, target: Target, folder: str, selection: Selection, before: str = "") -> Restored:
    """Bring what is selected back, and wait until the old version runs (``compass.steps.restore``)."""
    with workplace(job, target.name) as place:
        done = core.restore(place, target, Path(folder), selection, Path(before) if before else None)
    text = markdown.bulleted(f"Put back on cluster {target.name}", done.lines)
    if done.not_as_before:
        text += "\n\n" + markdown.bulleted("Not as before", done.not_as_before)
    publish(f"restore-{target.name}", text, f"{len(done.lines)} put back, {len(done.not_as_before)} not as before")
    return done
