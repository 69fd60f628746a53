"""What a run over one cluster or a site leaves on the machine that runs it: its report."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from prefect.logging import get_run_logger

from compass.clock import system_clock
from compass.errors import CompassError, InvalidInput
from compass.job import Job
from compass.report import ClusterReport, RunReport, report_of
from compass.steps.prepare import Prepared
from compass.store import StateDirectory, write_file

#: What a run and its report may be called.
RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def reported(
    job: Job, prepared: Prepared, name: str, change: Callable[[], ClusterReport], verb: str = "upgrade"
) -> ClusterReport:
    """Change one cluster and leave a report of it on this machine, as a run over a site does.

    Raises:
        CompassError: as ``change`` does; InvalidInput before it for a name that is none of a file.
    """
    path, started, report = report_path(job, name), system_clock().now(), None
    try:
        report = change()
    except CompassError as error:
        report = error.report
        raise
    finally:
        if isinstance(report, ClusterReport):
            ended_at, failed = system_clock().now(), bool(report.exit_status)
            keep_report(path, report_of(verb, prepared, started, ended_at, [report], failed=failed))
    return report


def report_path(job: Job, name: str) -> Path:
    """Return where a run of this name leaves its report, below the state directory of the machine that runs this.

    Raises:
        InvalidInput: it is no name of a file.
    """
    if not RUN_NAME.fullmatch(name):
        raise InvalidInput("read option", "name", found=repr(name), expected="letters, digits, '.', '_' and '-'")
    return StateDirectory(Path(job.where.state_dir)).reports / f"{name}.json"


def keep_report(path: Path, report: RunReport) -> bool:
    """Write a report and tell whether that went well; a disk that says no does not hide how the run ended."""
    try:
        write_file(path, report.model_dump_json(indent=1).encode())
    except CompassError as error:
        get_run_logger().warning("the report is not kept: %s", error)
        return False
    return True
