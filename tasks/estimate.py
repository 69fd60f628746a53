"""Task: how long an upgrade may take."""

from __future__ import annotations

from prefect.logging import get_run_logger

from compass import estimate as core
from compass.job import Job
from compass.steps.prepare import Prepared
from compass.steps.workplace import Target
from compass.window.room import Estimate
from tasks.step import step, workplace


@step("estimate")
def expected(job: Job, target: Target, prepared: Prepared) -> Estimate | None:
    """Return how long the bundle may take on a cluster (``compass.estimate``)."""
    with workplace(job, target.name) as place:
        found = core.expected(place, target, prepared.digest)
    get_run_logger().info("it takes %s", found or "a time that nobody knows yet")
    return found
