"""Step: write a verified backup of all Releases and of what a plan touches, and show that it would go back."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from compass import __version__
from compass.change.plan import Plan
from compass.clock import iso, stamp
from compass.cluster.backup import (
    INDEX,
    BackupIndex,
    Snapshot,
    cluster_uid,
    continued,
    read_index,
    take_snapshot,
    verify_backup,
    write_backup,
)
from compass.cluster.client import ClusterClient
from compass.cluster.record import Record, read_records
from compass.cluster.transport import Moved
from compass.documents import Document
from compass.errors import CompassError, InvalidInput, Refused, StepFailed
from compass.names import ObjectRef
from compass.remote import copy_out
from compass.steps.prepare import Prepared
from compass.steps.render import fit, render
from compass.steps.workplace import Target, Workplace
from compass.store import need_space

BY_HAND, BEFORE_RESTORE = "by-hand", "before-restore"
ESTIMATE_BYTES = 64 << 20
_LOOKS = 5
_AT_ONCE = 8


class BackupResult(Document):
    """Where a backup lies and what is in it.

    ``dropped`` are older ones that were removed for ``--keep``, ``copy_at`` is the address of its copy in a store.
    """

    cluster: str
    folder: str
    releases: int
    objects: int
    absent: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    copy_at: str = ""


def back_up(
    place: Workplace,
    target: Target,
    prepared: Prepared | None,
    refs: Sequence[ObjectRef],
    plan: Plan | None = None,
    interrupted: Record | None = None,
    purpose: str = BY_HAND,
    needed: str = "",
) -> BackupResult:
    """Write a backup of one cluster and return where it is; it exists only once it was verified.

    Each object is then given back to the server by a dry run: that shows that it has not moved since it was read, and
    that it can be restored.  ``plan`` says which objects will be changed.  After an ``interrupted`` run of the same
    bundle, what that touched is taken over from its backup, if that is here, whole, and of this cluster: the new
    backup holds the cluster as it was before the first of the runs.

    Raises:
        Refused: there is no space, or an object that will be changed could not be restored.
        StepFailed: a file does not read back as what the server gave.
    """
    client = place.client(target)
    bundle = f"{prepared.name}-{prepared.version}" if prepared else purpose
    now = place.clock.now()
    folder = _new_folder(place.state.backups(target.name), f"{stamp(now)}-{bundle}")
    need_space(folder, ESTIMATE_BYTES, "back up")
    touched = {x.ref: x.component for x in plan.acting} if plan else None
    snapshot, warnings = _restorable(client, take_snapshot(client, refs, touched))
    about: dict[str, Any] = {
        "cluster": target.name,
        "server": client.server,
        "cluster_uid": cluster_uid(client),
        "taken": iso(now),
        "bundle": bundle,
        "bundle_digest": prepared.digest if prepared else "",
        "tool": __version__,
    }
    if interrupted is not None and interrupted.backup:
        snapshot, note = _taken_over(snapshot, Path(interrupted.backup), about)
        warnings += note
        if not note:
            about["continues"] = Path(interrupted.backup).name
    index = write_backup(folder, snapshot, about, place.progress)
    copied = _copied(place.job.choices.backup_store, folder, index)
    keep = {folder.name, Path(needed).name, *_still_needed(client)}
    keep |= {Path(interrupted.backup).name} if interrupted else set()
    dropped = drop_old(folder.parent, index.cluster_uid, place.job.choices.keep_backups, keep)
    told = {"warnings": tuple(warnings), "dropped": tuple(dropped), "copy_at": copied}
    return summary(folder, index).model_copy(update=told)


def _copied(store: str, folder: Path, index: BackupIndex) -> str:
    """Copy a backup to a store, if one is named, and return the copy's address."""
    if not store:
        return ""
    return copy_out(folder, [*(x.file for x in index.files), INDEX], store, f"{index.cluster}/{folder.name}", INDEX)


def _new_folder(above: Path, name: str) -> Path:
    """Return a folder that is not there yet; a second backup of one second gets a number."""
    names = [name, *(f"{name}-{number}" for number in range(2, 100))]
    return next(above / x for x in names if not (above / x).exists())


def summary(folder: Path, index: BackupIndex) -> BackupResult:
    """Return what a person needs to know of a backup."""
    return BackupResult(
        cluster=index.cluster,
        folder=str(folder),
        releases=index.releases,
        objects=len(index.files) - index.releases,
        absent=tuple(str(x.ref) for x in index.absent),
    )


def _restorable(client: ClusterClient, snapshot: Snapshot) -> tuple[Snapshot, list[str]]:
    """Return the snapshot as it is once each object could be given back, and warnings of those that could not.

    Raises:
        Refused: an object that will be changed could not be put back.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        releases = list(pool.map(lambda x: _probe(client, x), snapshot.releases))
        objects = list(pool.map(lambda x: _probe(client, x), snapshot.objects))
    doubtful: dict[str, list[ObjectRef]] = {}
    for item, problem in (*releases, *objects):
        if problem is None or item is None:
            continue
        ref = ObjectRef.of(item)
        if ref.identity in snapshot.touched:
            raise Refused(
                "back up", ref, found=f"it could not be restored: {problem}", expected="an object that can go back",
                do="mend it first: nothing has been changed",
            )  # fmt: skip
        doubtful.setdefault(f"{ref.kind}: {problem.found}".replace(ref.name, "..."), []).append(ref)
    gone = [
        ref
        for ref, (item, _) in zip(map(ObjectRef.of, (*snapshot.releases, *snapshot.objects)), (*releases, *objects),
                                  strict=True)
        if item is None
    ]  # fmt: skip
    there = Snapshot(
        [x for x, _ in releases if x], [x for x, _ in objects if x],
        [*snapshot.absent, *(x for x in gone if x.identity in snapshot.touched)], snapshot.touched,
    )  # fmt: skip
    return there, [_doubt(x, reason) for reason, x in doubtful.items()]


def _doubt(refs: Sequence[ObjectRef], reason: str) -> str:
    more = f" and {len(refs) - 1} more" if len(refs) > 1 else ""
    return f"{refs[0]}{more} in the backup could not be restored today: {reason}"


def _probe(client: ClusterClient, item: dict[str, Any]) -> tuple[dict[str, Any] | None, CompassError | None]:
    """Give an object back by dry run; return it as it is, ``None`` when it is gone, and why it could not go back."""
    ref = ObjectRef.of(item)
    for _ in range(_LOOKS):
        try:
            client.replace(item, dry_run=True)
        except Moved as error:  # it has moved since it was read, as status does: the newer one is what counts
            live = client.get(ref)
            if live is None:
                return None, None
            item, problem = live, error
            continue
        except (StepFailed, InvalidInput, Refused) as error:
            return item, error
        return item, None
    return item, problem


def _taken_over(snapshot: Snapshot, folder: Path, about: dict[str, Any]) -> tuple[Snapshot, list[str]]:
    """Return the snapshot with the objects of an interrupted run's backup, or why that cannot be trusted."""
    try:
        index = verify_backup(folder)
        for name in ("cluster_uid", "bundle_digest"):
            if getattr(index, name) != about[name]:
                raise InvalidInput("read backup", folder, found=f"{name} {getattr(index, name)}", expected=about[name])
        return continued(snapshot, folder, index), []
    except CompassError as error:
        said = "the backup of the interrupted run cannot be used, a rollback leads to what is there now"
        return snapshot, [f"{said}: {error}"]


def _still_needed(client: ClusterClient) -> set[str]:
    """Return the backup that leads back to before an upgrade that was cut off, whoever makes one now."""
    try:
        records = read_records(client)
    except CompassError:
        return set()
    return {Path(x.backup).name for x in records[:1] if x.is_interrupted and x.backup}


def drop_old(folder: Path, uid: str, keep: int, needed: set[str]) -> list[str]:
    """Remove all but the newest ``keep`` backups of a cluster (0: keep all), never one that is ``needed``.

    Those of other clusters of the same name, and what is damaged, stay.
    """
    there = sorted(path.name for path, x in list_backups(folder) if isinstance(x, BackupIndex) and x.cluster_uid == uid)
    dropped = [x for x in there[:-keep] if x not in needed] if keep else []
    for name in dropped:
        shutil.rmtree(folder / name, ignore_errors=True)
    return dropped


def list_backups(folder: Path) -> list[tuple[Path, BackupIndex | CompassError]]:
    """Return the backups of one cluster with their indexes, newest first; one that is damaged with its error."""
    found: list[tuple[Path, BackupIndex | CompassError]] = []
    for path in sorted((x for x in folder.iterdir() if x.is_dir() and not x.name.startswith(".")), reverse=True):
        try:
            found.append((path, read_index(path)))
        except CompassError as error:
            found.append((path, error))
    return found


def objects_of(place: Workplace, target: Target) -> list[ObjectRef]:
    """Return what the bundle applies to or deletes from a cluster.

    Raises:
        InvalidInput: a template is wrong, or the cluster does not serve a kind.
    """
    deleted = [y.ref for x in place.bundle.definition.for_role(target.role) for y in x.delete]
    return [*deleted, *(x.ref for x in fit(place.client(target), render(place, target)))]
