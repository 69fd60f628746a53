"""Step: write a verified backup of all Releases and of everything that a plan touches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from compass import __version__
from compass.clock import iso, stamp
from compass.cluster.backup import BackupIndex, cluster_uid, take_snapshot, write_backup
from compass.documents import Document
from compass.names import ObjectRef
from compass.steps.prepare import Prepared
from compass.steps.render import fit, render
from compass.steps.workplace import Target, Workplace
from compass.store import need_space

ESTIMATE_BYTES = 64 << 20


class BackupResult(Document):
    """Where a backup lies and what is in it."""

    cluster: str
    folder: str
    releases: int
    objects: int
    absent: tuple[str, ...] = ()


def back_up(place: Workplace, target: Target, prepared: Prepared | None, refs: Sequence[ObjectRef]) -> BackupResult:
    """Write a backup of one cluster and return where it is; it exists only once it was verified.

    Raises:
        Refused: there is no space.
        StepFailed: a file does not read back as what the server gave.
    """
    client = place.client(target)
    bundle = f"{prepared.name}-{prepared.version}" if prepared else "by-hand"
    now = place.clock.now()
    folder = place.state.backups(target.name) / f"{stamp(now)}-{bundle}"
    need_space(folder, ESTIMATE_BYTES, "back up")
    snapshot = take_snapshot(client, refs)
    about = {
        "cluster": target.name,
        "server": client.server,
        "cluster_uid": cluster_uid(client),
        "taken": iso(now),
        "bundle": bundle,
        "bundle_digest": prepared.digest if prepared else "",
        "tool": __version__,
    }
    index = write_backup(folder, snapshot, about, place.progress)
    return summary(folder, index)


def summary(folder: Path, index: BackupIndex) -> BackupResult:
    """Return what a person needs to know of a backup."""
    return BackupResult(
        cluster=index.cluster,
        folder=str(folder),
        releases=index.releases,
        objects=len(index.files) - index.releases,
        absent=index.absent,
    )


def objects_of(place: Workplace, target: Target) -> list[ObjectRef]:
    """Return what the bundle applies to or deletes from a cluster.

    Raises:
        InvalidInput: a template is wrong, or the cluster does not serve a kind.
    """
    deleted = [y.ref for x in place.bundle.definition.for_role(target.role) for y in x.delete]
    return [*deleted, *(x.ref for x in fit(place.client(target), render(place, target)))]
