"""Where a run leaves its report on the machine that runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from compass.errors import InvalidInput
from compass.job import Job, Where
from flows.reporting import report_path


def job(folder: Path) -> Job:
    return Job(bundle="", where=Where(state_dir=str(folder)))


def test_a_report_is_called_as_its_run(tmp_path: Path) -> None:
    path = report_path(job(tmp_path), "20260131T020000Z-upgrade-12ab")
    assert path == tmp_path / "reports" / "20260131T020000Z-upgrade-12ab.json"


@pytest.mark.parametrize("name", ["../../etc/cron.d/x", "a/b", "", ".hidden", "a" * 129, "line\nbreak"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match=r"read option name: .* expected letters, digits"):
        report_path(job(tmp_path), name)
