"""Step: show where a cluster no longer is what its last upgrade left, by the fields that this tool applied."""

from __future__ import annotations

from typing import Any

from compass.change.manifests import Desired
from compass.change.ownership import applied_fields, common, entries
from compass.change.plan import Change
from compass.cluster.apply import preview
from compass.cluster.client import FIELD_MANAGER, ClusterClient
from compass.cluster.record import Record, read_records
from compass.documents import Document
from compass.errors import CompassError, Refused
from compass.steps.prepare import Prepared
from compass.steps.render import fit, render
from compass.steps.workplace import Target, Workplace


class Drifted(Document):
    """One object that is not as it was left; ``lines`` say what was left, then what is there, a line per field.

    ``by`` are the managers that own such a field now, each with the time of its last change.
    """

    object: str
    found: str
    lines: tuple[str, ...] = ()
    by: tuple[str, ...] = ()


def find_drift(place: Workplace, target: Target, prepared: Prepared) -> list[Drifted]:
    """Return what has drifted on one cluster; nothing is changed.

    Raises:
        Refused: the last upgrade of the cluster did not end well, or was one to another bundle.
        CompassError: the cluster cannot be asked.
    """
    client = place.client(target)
    _last_upgrade(client, target, prepared)
    drifted = []
    for item in fit(client, render(place, target)):
        live = client.get(item.ref)
        found = _gone(item) if live is None else _changed(client, item, live)
        drifted += [found] if found else []
    return drifted


def _last_upgrade(client: ClusterClient, target: Target, prepared: Prepared) -> Record:
    records = read_records(client)
    last = records[0] if records else None
    if last is None or last.state != "done" or last.digest != prepared.digest:
        found = f"{last.bundle} {last.version}: {last.state}" if last else "never upgraded by this tool"
        raise Refused(
            "look for drift on", target.name, found=found, expected=f"{prepared.name} {prepared.version}: done",
            do="pass the bundle that the cluster has",
        )  # fmt: skip
    return last


def _gone(item: Desired) -> Drifted:
    return Drifted(object=str(item.ref), found="gone")


def _changed(client: ClusterClient, item: Desired, live: dict[str, Any]) -> Drifted | None:
    try:
        change: Change = preview(client, item, force_conflicts=True)
    except CompassError as error:
        return Drifted(object=str(item.ref), found=f"cannot be compared: {error}")
    if change.action == "unchanged":
        return None
    # A plan says what is there and what will be; drift, what was left and what is there.
    lines = tuple(_turned(x) for x in change.differences)
    return Drifted(object=str(item.ref), found="changed", lines=lines, by=tuple(_owners(client, item, live)))


def _owners(client: ClusterClient, item: Desired, live: dict[str, Any]) -> list[str]:
    """Return who owns fields that the bundle sets, as far as the server can tell."""
    try:
        ours = applied_fields(client.apply(item.manifest, dry_run=True, force=True), FIELD_MANAGER)
    except CompassError:  # a choice was replaced by another: the server merges the two in a dry run
        return []
    return [
        f"{x.get('manager')} at {x.get('time')}"
        for x in entries(live)
        if x.get("manager") != FIELD_MANAGER and common(x.get("fieldsV1") or {}, ours)
    ]


def _turned(line: str) -> str:
    path, _, values = line.partition(": ")
    before, arrow, after = values.partition(" -> ")
    return f"{path}: {after} -> {before}" if arrow else line
