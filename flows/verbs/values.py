"""Values of ``--set`` on their way to a flow: by file, since a flow's parameters stay in Prefect's database."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from compass.job import Job
from compass.steps.workplace import Workplace
from compass.store import write_file


@contextmanager
def values_by_file(place: Workplace) -> Iterator[Job]:
    """Give the job with each plain value in a file that only its owner may read, and that goes when the run ends."""
    given = place.job.choices.values
    folder = place.state.root / "values" / secrets.token_hex(8)
    try:
        values = dict(given)
        for name, value in given.items():
            if not value.startswith("@"):
                write_file(folder / name, value.encode())
                values[name] = f"@{folder / name}"
        yield place.job.model_copy(update={"choices": place.job.choices.model_copy(update={"values": values})})
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if folder.parent.is_dir() and not any(folder.parent.iterdir()):
            folder.parent.rmdir()
