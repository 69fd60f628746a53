"""After a failure: say what is not as before, and tell the cluster, as far as it still answers.

Called by the flows directly, not as tasks: it must work when Prefect's own server is what went away.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from compass.change.plan import Plan
from compass.clock import iso
from compass.cluster.record import Record
from compass.errors import CompassError
from compass.job import Job
from compass.steps.apply import not_as_before
from compass.steps.record import keep_record
from compass.steps.workplace import Target, Workplace

PATIENCE_SECONDS = 10.0


def after_failure(
    job: Job, target: Target, plan: Plan | None, backup: str, record: Record | None, problem: str, step: str,
    environ: Mapping[str, str] = os.environ,
) -> list[str]:  # fmt: skip
    """Return the objects of the plan that are not as the backup has them, and write the failed Record.

    A cluster that does not answer is not waited for long; that it is not known is one of the lines.
    """
    impatient = job.choices.model_copy(update={"patience_seconds": min(PATIENCE_SECONDS, job.choices.patience_seconds)})
    lines: list[str] = []
    with Workplace(job.model_copy(update={"choices": impatient}), environ) as place:
        try:
            if plan is not None and backup:
                lines = not_as_before(place, target, plan, backup)
            if record is not None:
                finished = iso(place.clock.now())
                update = {"state": "failed", "step": step, "finished": finished, "problem": problem, "backup": backup}
                keep_record(place, target, record.model_copy(update=update))
        except CompassError as error:
            lines.append(f"not known: {error}")
    return lines
