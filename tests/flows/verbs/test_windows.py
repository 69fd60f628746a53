"""``compass-upgrade windows``: when each cluster of an inventory opens next, and what is planned then."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

from compass.documents import dump_yaml

COMMAND = str(Path(sys.executable).with_name("compass-upgrade"))
DAILY = {"rrule": "FREQ=DAILY", "start": "22:00", "duration": "4h", "timezone": "Asia/Shanghai"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an inventory of three clusters."""
    clusters = [
        {"name": "control", "role": "control", "windows": [DAILY],
         "schedules": {"backup": {"rrule": "FREQ=DAILY", "start": "01:00", "timezone": "UTC"}}},
        {"name": "user-1", "role": "user", "windows": [DAILY], "atOpening": ["upgrade"]},
        {"name": "user-2", "role": "user"},
    ]  # fmt: skip
    document = {
        "apiVersion": "compass.upgrade/v1", "kind": "Inventory", "bundle": "/srv/bundle", "stateDir": "/srv/state",
        "workPool": "compass", "sites": [{"name": "here", "directory": "/srv/here", "clusters": clusters}],
    }  # fmt: skip
    (tmp_path / "inventory.yaml").write_text(dump_yaml(document))
    return tmp_path


def ask(folder: Path, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [COMMAND, "windows", *words], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == status, done.stderr
    return done


def test_each_cluster_has_its_next_openings_and_what_starts_in_them(folder: Path) -> None:
    control, user, anyhow = json.loads(ask(folder, "--weeks", "2", "--output", "json").stdout)
    assert [x["cluster"] for x in (control, user, anyhow)] == ["control", "user-1", "user-2"]
    opening = next(x for x in user["openings"] if datetime.fromisoformat(x["start"]) > datetime.now(UTC))
    assert (opening["start"][11:], opening["end"][11:], opening["timezone"]) == (
        "14:00:00Z", "18:00:00Z", "Asia/Shanghai"
    )  # fmt: skip
    assert opening["planned"] == [{"at": opening["start"], "verbs": ["upgrade"]}]
    assert 13 <= len(user["openings"]) <= 15
    assert not any(x["planned"] for x in control["openings"])
    assert {tuple(x["verbs"]) for x in control["scheduled"]} == {("backup",)}
    assert (anyhow["anyTime"], anyhow["scheduled"]) == (True, [])


def test_the_table_speaks_local_time(folder: Path) -> None:
    lines = ask(folder).stdout.splitlines()
    openings = [x for x in lines if x.startswith("user-1") and ("22:00" in x or "open now" in x)]
    assert len(openings) == 3
    assert all("upgrade 22:00" in x for x in openings[1:]), "the first may have begun"
    (more,) = (x for x in lines if x.startswith("user-1") and " more in 4 weeks" in x)
    assert 24 <= int(more.split("and ")[1].split()[0]) <= 26
    assert [x for x in lines if x.startswith("user-2") and "at any time" in x]
    assert [x for x in lines if x.startswith("control") and "backup, whatever is open" in x]


def test_the_picture_has_a_row_for_each_cluster(folder: Path) -> None:
    ask(folder, "--svg", "weeks.svg", "--weeks", "3")
    picture = ElementTree.parse(folder / "weeks.svg").getroot()
    words = [x.text for x in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {"control", "user-1", "user-2"} <= set(words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--weeks", "0"), "read option --weeks: 0, expected 1 to 53"),
        (
            ("--inventory", "absent.yaml"),
            "read inventory absent.yaml: No such file or directory; pass --inventory with its file",
        ),
        (("--svg", "nowhere/a.svg"), "write picture nowhere/a.svg: no such folder, expected a folder that is there"),
    ],
    ids=["weeks", "file", "picture"],
)
def test_what_is_wrong_is_one_line(folder: Path, words: tuple[str, ...], said: str) -> None:
    assert ask(folder, *words, status=2).stderr == f"error: {said}\n"


def test_freezes_that_cover_a_year_are_refused(folder: Path) -> None:
    freeze = {"start": "2020-01-01T00:00", "end": "2199-01-01T00:00", "timezone": "UTC", "reason": "rest"}
    with (folder / "inventory.yaml").open("a") as file:
        file.write(dump_yaml({"freezes": [freeze]}))
    (line,) = ask(folder, status=2).stderr.splitlines()
    assert line.startswith("error: read inventory.yaml: cluster control: freezes: 'rest'")
