"""An inventory says which clusters there are, how to reach each, and when each may be changed."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from compass.documents import dump_yaml
from compass.errors import InvalidInput
from compass.job import Where
from compass.site.inventory import Inventory, read_inventory, refuse_never_open

SATURDAYS = {"rrule": "FREQ=WEEKLY;BYDAY=SA", "start": "02:00", "duration": "4h", "timezone": "Asia/Shanghai"}
SUNDAYS = {**SATURDAYS, "rrule": "FREQ=WEEKLY;BYDAY=SU"}
REST = {"start": "2026-12-20T00:00", "end": "2027-01-04T00:00", "timezone": "UTC", "reason": "rest"}


def cluster(name: str = "one", role: str = "user", **more: object) -> dict[str, Any]:
    return {"name": name, "role": role, **more}


def read(folder: Path, *clusters: dict[str, Any], site: dict[str, Any] | None = None, **more: object) -> Inventory:
    """Read an inventory of one site with these clusters."""
    place = {"name": "here", "directory": "/srv/here", "clusters": list(clusters), **(site or {})}
    document = {
        "apiVersion": "compass.upgrade/v1", "kind": "Inventory", "bundle": "/srv/bundle", "stateDir": "/srv/state",
        "workPool": "compass", "sites": [place], **more,
    }  # fmt: skip
    path = folder / "inventory.yaml"
    path.write_text(dump_yaml(document))
    return read_inventory(path)


def refused(folder: Path, *clusters: dict[str, Any], **more: Any) -> str:
    """Return why an inventory is refused, without the file's name, which is checked."""
    with pytest.raises(InvalidInput) as error:
        read(folder, *clusters, **more)
    start = f"read {folder / 'inventory.yaml'}: "
    assert str(error.value).startswith(start)
    return str(error.value).removeprefix(start)


def test_windows_and_freezes_of_all_levels_are_one_calendar(tmp_path: Path) -> None:
    late = {"start": "2026-01-04T22:00", "end": "2026-01-05T02:00", "timezone": "UTC"}
    inventory = read(
        tmp_path,
        cluster("one", labels={"tier": "canary", "zone": "a"}, windows=[late, SATURDAYS]),
        cluster("two", labels={"tier": "main"}),
        site={"windows": [SATURDAYS]},
        freezes=[REST],
        byLabel=[{"labels": {"tier": "canary"}, "windows": [SUNDAYS]}, {"labels": {"tier": "canary", "zone": "b"},
                                                                        "freezes": [{**REST, "reason": "zone b"}]}],
    )  # fmt: skip
    one, two = (inventory.calendar(site, x) for site, x in inventory.each())
    assert [x.rrule for x in one.windows] == ["FREQ=WEEKLY;BYDAY=SU", "FREQ=WEEKLY;BYDAY=SA", None]
    assert [x.reason for x in one.freezes] == ["rest"]
    assert [x.rrule for x in two.windows] == ["FREQ=WEEKLY;BYDAY=SA"]


def test_a_freeze_beats_every_window(tmp_path: Path) -> None:
    inventory = read(tmp_path, cluster(windows=[SATURDAYS]), freezes=[REST])
    ((site, found),) = inventory.each()
    opening = inventory.calendar(site, found).next_opening(datetime(2026, 12, 19, tzinfo=UTC))
    assert opening
    assert opening.start == datetime(2027, 1, 8, 18, tzinfo=UTC)


def test_what_starts_at_openings_may_be_said_for_many_and_holds_where_it_can_be_done(tmp_path: Path) -> None:
    inventory = read(
        tmp_path, cluster("one", "control"), cluster("two", atOpening=["check"]),
        site={"windows": [SATURDAYS], "atOpening": ["remove", "upgrade"]},
    )  # fmt: skip
    assert [inventory.at_opening_of(site, x) for site, x in inventory.each()] == [
        ("upgrade", "remove"), ("upgrade", "check"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"object": "user-1"}, Where(site="/srv/here", state_dir="/srv/state")),
        (
            {"kubeconfig": "/srv/k", "context": "c"},
            Where(site="/srv/here", kubeconfig="/srv/k", context="c", role="user", state_dir="/srv/state"),
        ),
        (
            {"clusterAPI": "fleet/one"},
            Where(site="/srv/here", cluster_api="fleet/one", role="user", state_dir="/srv/state"),
        ),
    ],
    ids=["Cluster object", "kubeconfig", "Cluster API"],
)
def test_a_cluster_is_reached_in_one_of_three_ways(tmp_path: Path, how: dict[str, object], expected: Where) -> None:
    inventory = read(tmp_path, cluster(**how))
    ((site, found),) = inventory.each()
    assert inventory.where(site, found) == expected


def test_a_site_may_have_a_work_pool_of_its_own(tmp_path: Path) -> None:
    for pool, expected in ((None, "compass"), ("edge", "edge")):
        inventory = read(tmp_path, cluster(), site={"workPool": pool})
        assert inventory.work_pool_of(inventory.sites[0]) == expected


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"kubeconfg": "x"}, "sites.0.clusters.0.kubeconfg: unknown key"),
        ({"role": "master"}, "sites.0.clusters.0.role: input should be 'control' or 'user'"),
        ({"context": "x"}, "sites.0.clusters.0: context without kubeconfig"),
        ({"clusterAPI": "one"}, "clusterAPI 'one': expected namespace/name"),
        ({"clusterAPI": "Fleet/one"}, "clusterAPI 'Fleet': expected lower-case letters"),
        ({"clusterAPI": "fleet/one", "object": "x"}, "say one way to reach it"),
        ({"labels": {"tier": "{{ $HOME }}"}}, "which Prefect would replace"),
        ({"windows": [{**SATURDAYS, "timezone": "Mars/Base"}]}, "windows.0.timezone: unknown time zone 'Mars/Base'"),
        ({"schedules": {"check": {**SATURDAYS, "duration": "4h"}}}, "schedules.check.duration: input should be '1s'"),
        ({"schedules": {"check": {"rrule": "FREQ=DAILY;COUNT=3", "start": "02:00", "timezone": "UTC"}}}, "COUNT does"),
        (
            {"schedules": {"upgrade": {"rrule": "FREQ=DAILY", "start": "02:00", "timezone": "UTC"}}},
            "schedules.upgrade: what changes a cluster starts in its windows; write atOpening",
        ),
        ({"atOpening": ["remove"], "windows": [SATURDAYS]}, "remove is for control clusters"),
        ({"atOpening": ["upgrade"]}, "cluster 'one': upgrade is to start at an opening, but it has no window"),
        ({"choices": {"values": {"dbPassword": "hunter2"}}}, "'dbPassword' looks like a secret: give @/path/of/a/file"),
        ({"choices": {"values": {"db_pwd": "hunter2"}}}, "'db_pwd' looks like a secret"),
        ({"choices": {"values": {"sshKey": "hunter2"}}}, "'sshKey' looks like a secret"),
        ({"choices": {"values": {"AUTH": "Basic abc"}}}, "'AUTH' looks like a secret"),
        ({"choices": {"values": {"x": "@secret.txt"}}}, "value 'x': expected the whole path of a file"),
        ({"choices": {"backup_store": "s3://me:hunter2@store/b"}}, "an address holds a password"),
    ],
    ids=lambda x: "" if isinstance(x, dict) else x[:30],
)
def test_a_wrong_cluster_is_refused_in_one_line_with_its_place(
    tmp_path: Path, wrong: dict[str, Any], words: str
) -> None:
    said = refused(tmp_path, cluster() | wrong)
    assert words in said
    assert "hunter2" not in said
    assert "\n" not in said


def test_names_given_twice_are_named_with_both_places(tmp_path: Path) -> None:
    assert "sites.0.clusters.1: cluster 'one' given twice, first at sites.0.clusters.0" in refused(
        tmp_path, cluster(), cluster()
    )
    site = {"name": "here", "directory": "/srv/x", "clusters": [cluster("two")]}
    twice = [{"name": "here", "directory": "/srv/y", "clusters": [cluster()]}, site]
    assert "sites.1: site 'here' given twice, first at sites.0" in refused(tmp_path, sites=twice)


def test_a_secret_may_be_given_as_the_path_of_a_file(tmp_path: Path) -> None:
    inventory = read(tmp_path, cluster(choices={"values": {"dbPassword": "@/srv/secrets/db", "port": "6009"}}))
    assert inventory.sites[0].clusters[0].choices.values["dbPassword"] == "@/srv/secrets/db"


def test_freezes_that_leave_a_cluster_no_opening_are_refused(tmp_path: Path) -> None:
    for_ever = {**REST, "start": "2026-01-01T00:00", "end": "2029-01-01T00:00"}
    inventory = read(tmp_path, cluster("one"), cluster("two", windows=[SATURDAYS], freezes=[for_ever]))
    with pytest.raises(InvalidInput, match=r"read i\.yaml: cluster two: freezes: 'rest' .* cover every window"):
        refuse_never_open(inventory, datetime(2026, 2, 1, tzinfo=UTC), "i.yaml")
    refuse_never_open(inventory, datetime(2028, 12, 1, tzinfo=UTC), "i.yaml")


def test_a_thousand_clusters_with_windows_of_their_own_load_in_less_than_a_second(tmp_path: Path) -> None:
    zones = ("Asia/Shanghai", "Europe/Berlin", "America/New_York")
    clusters = [
        cluster(f"c-{n}", labels={"tier": "main"}, atOpening=["upgrade"],
                windows=[{**SATURDAYS, "start": f"{n % 24:02}:{n % 60:02}", "timezone": zones[n % 3]}])
        for n in range(1000)
    ]  # fmt: skip
    began = time.process_time()
    inventory = read(tmp_path, *clusters)
    refuse_never_open(inventory, datetime(2026, 1, 1, tzinfo=UTC), "i.yaml")
    written_and_read = time.process_time() - began
    began = time.process_time()
    again = read_inventory(tmp_path / "inventory.yaml")
    assert time.process_time() - began < 1, written_and_read
    assert again == inventory
    assert len(list(again.each())) == 1000
