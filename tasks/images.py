"""Task: load the images."""

from __future__ import annotations

from prefect.logging import get_run_logger

from compass import markdown
from compass.job import Job
from compass.steps import images as core
from compass.steps.images import LoadResult
from compass.steps.prepare import Prepared
from tasks.step import publish, step, workplace
from tasks.uploads import upload_slots


@step("load images")
def load_images(job: Job, prepared: Prepared) -> LoadResult:
    """Push what the registry lacks and read every tag back (``compass.steps.images``)."""
    with workplace(job) as place, upload_slots(place, get_run_logger().warning) as slots:
        result = core.load_images(place, prepared.archives, slots)
    sent = markdown.size_text(result.bytes_sent)
    publish("images", markdown.of_images(result), f"{len(result.images)} images in the registry, {sent} sent")
    return result
