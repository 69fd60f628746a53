"""Task: extract and verify the bundle."""

from __future__ import annotations

from compass import markdown
from compass.job import Job
from compass.steps import prepare as core
from compass.steps.prepare import Prepared
from tasks.step import publish, step, workplace


@step("verify bundle")
def prepare(job: Job) -> Prepared:
    """Open the bundle, check every byte, and return what it is (``compass.steps.prepare``)."""
    with workplace(job) as place:
        prepared = core.prepare(place)
    line = f"bundle {prepared.name} {prepared.version}: {prepared.files} files verified, {prepared.digest}"
    publish("bundle", markdown.of_prepared(prepared), line)
    return prepared
