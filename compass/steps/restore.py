"""Step: bring a cluster back to a backup, object by object, and say what could not be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from compass.change.diff import differences
from compass.change.health import POD_MAKERS, assess
from compass.change.manifests import apply_order
from compass.change.plan import Change, Plan, change_of
from compass.change.restoring import is_back, put_back
from compass.cluster.backup import BackedUp, BackupIndex, Named, cluster_uid, read_saved, verify_backup
from compass.cluster.client import FIELD_MANAGER, ClusterClient
from compass.cluster.created import created_since, note_created
from compass.cluster.restore import is_ours, recreate, restore_content
from compass.cluster.wait import wait_gone, wait_ready
from compass.documents import Document
from compass.errors import CompassError, InvalidInput, StepFailed, Transient
from compass.names import ObjectRef
from compass.steps.workplace import Target, Workplace

_GROUND = ("Namespace", "CustomResourceDefinition")


class Restored(Document):
    """What a restore did, a line per object, and each object that is not as the backup has it."""

    lines: tuple[str, ...] = ()
    not_as_before: tuple[str, ...] = ()


class Selection(Document):
    """What of a backup is put back: what the upgrade touched, or all; of that, named components and objects only."""

    everything: bool = False
    components: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether everything that the upgrade touched is chosen."""
        return not self.components and not self.objects

    def of(self, index: BackupIndex) -> tuple[list[BackedUp], list[Named]]:
        """Return the files and the absent objects that are chosen.

        Raises:
            InvalidInput: a component or an object is not in the backup.
        """
        everything = self.everything or bool(self.objects) or not (index.touched or index.absent)
        files = list(index.files if everything else index.touched)
        found: list[Named] = [*files, *index.absent]
        for kind, words in (("component", set(self.components)), ("object", set(self.objects))):
            there = {x.component if kind == "component" else str(x.ref) for x in found}
            if missing := sorted(words - there):
                raise InvalidInput(f"find {kind} in backup", missing[0],
                                   expected=f"one of: {', '.join(sorted(x for x in there if x)[:20])}")  # fmt: skip
            if words:
                found = [x for x in found if (x.component if kind == "component" else str(x.ref)) in words]
        return [x for x in found if isinstance(x, BackedUp)], [x for x in found if not isinstance(x, BackedUp)]


def read_backup(place: Workplace, target: Target, folder: Path) -> BackupIndex:
    """Return the index of a verified backup of this very cluster.

    Raises:
        InvalidInput: it is no backup, or one of another cluster.
        StepFailed: a file of it is damaged.
    """
    index = verify_backup(folder)
    uid = cluster_uid(place.client(target))
    if index.cluster_uid != uid:
        raise InvalidInput(
            "restore cluster", target.name, found=f"{folder} is a backup of cluster {index.cluster} ({index.server})",
            expected="a backup of this cluster",
        )  # fmt: skip
    return index


def make_restore_plan(place: Workplace, target: Target, folder: Path, selection: Selection) -> Plan:
    """Return what a restore would change on a cluster; nothing is changed.

    Raises:
        InvalidInput, StepFailed: as ``read_backup``, or the server would refuse an object.
    """
    client = place.client(target)
    index = read_backup(place, target, folder)
    files, absent = selection.of(index)
    ours = created_since(folder)
    changes = [_removal(client, x, ours) for x in sorted(absent, key=lambda x: -apply_order(x.ref))]
    for entry in sorted(files, key=lambda x: apply_order(x.ref)):
        changes.append(_return(client, entry, read_saved(folder, entry)))
    return Plan(
        cluster=target.name, role=target.role, bundle=f"backup {folder.name}", bundle_digest=index.bundle_digest,
        changes=tuple(changes),
    )  # fmt: skip


def _removal(client: ClusterClient, entry: Named, ours: frozenset[str]) -> Change:
    live = _live(client, entry.ref)
    if live is None:
        return change_of("skipped", entry.ref, component=entry.component, reason="not there")
    if live["metadata"]["uid"] not in ours and not is_ours(live):
        reason = "was not there before, but this tool did not apply it"
        return change_of("skipped", entry.ref, component=entry.component, reason=reason, live=live)
    return change_of("deleted", entry.ref, component=entry.component, reason="was not there before", live=live)


def _return(client: ClusterClient, entry: BackedUp, saved: dict[str, Any]) -> Change:
    live = _live(client, entry.ref)
    if live is None:
        return change_of("created", entry.ref, component=entry.component)
    if is_back(saved, live, FIELD_MANAGER):
        return change_of("unchanged", entry.ref, component=entry.component, live=live)
    lines = differences(live, put_back(saved, live, FIELD_MANAGER))
    return change_of("configured", entry.ref, component=entry.component, live=live, lines=lines)


def _live(client: ClusterClient, ref: ObjectRef) -> dict[str, Any] | None:
    return client.get(ref) if client.serves(ref.api_version, ref.kind) else None


def compare(place: Workplace, target: Target, folder: Path, selection: Selection) -> list[str]:
    """Return the selected objects that are not as the backup has them, and how, a line each; nothing is changed.

    Raises:
        InvalidInput, StepFailed: as ``read_backup``.
    """
    files, absent = selection.of(read_backup(place, target, folder))
    run = _run(place, target, folder)
    run.compare(files, absent)
    return list(run.failed.values())


def restore(
    place: Workplace, target: Target, folder: Path, selection: Selection, before: Path | None = None
) -> Restored:
    """Bring what is selected back to a backup, and wait until the old version runs where it ran.

    An object that cannot be put back is named, and the others go on.  ``before`` is the backup that was made just
    before: what is created again is noted there, so that restoring that one takes it away.

    Raises:
        InvalidInput, StepFailed: as ``read_backup``: nothing was changed then.
    """
    files, absent = selection.of(read_backup(place, target, folder))
    run = _run(place, target, folder)
    run.remove([x.ref for x in absent])
    run.before = before
    run.put_back(_owners_first(folder, sorted(files, key=lambda x: apply_order(x.ref))))
    run.wait_old_version()
    run.compare(files, absent)
    return Restored(lines=tuple(run.lines), not_as_before=tuple(run.failed.values()))


def _owners_first(folder: Path, files: Sequence[BackedUp]) -> list[BackedUp]:
    """Return the files in their order, but each after those of its owners: a new one has another uid."""
    by_uid = {x.uid: x for x in files}
    ordered: dict[str, BackedUp] = {}

    def add(entry: BackedUp, above: frozenset[str]) -> None:
        if entry.file in ordered or entry.uid in above:
            return
        references = read_saved(folder, entry)["metadata"].get("ownerReferences") or []
        for owner in (by_uid.get(x.get("uid", "")) for x in references):
            if owner is not None:
                add(owner, above | {entry.uid})
        ordered[entry.file] = entry

    for entry in files:
        add(entry, frozenset())
    return list(ordered.values())


def _run(place: Workplace, target: Target, folder: Path) -> _Run:
    return _Run(place.client(target), folder, place, created_since(folder))


@dataclass
class _Run:
    """One restore under way; ``failed`` is the first thing that went wrong with each object."""

    client: ClusterClient
    folder: Path
    place: Workplace
    ours: frozenset[str]
    before: Path | None = None
    created: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    failed: dict[tuple[str, str, str, str], str] = field(default_factory=dict)
    away: CompassError | None = None
    renamed: dict[str, str] = field(default_factory=dict)
    saved: dict[tuple[str, str, str, str], dict[str, Any]] = field(default_factory=dict)
    returned: list[ObjectRef] = field(default_factory=list)

    def remove(self, refs: Sequence[ObjectRef]) -> None:
        """Delete what was not there before, the last applied first."""
        gone: list[tuple[ObjectRef, str]] = []
        for ref in sorted(refs, key=lambda x: -apply_order(x)):
            self._try(ref, partial(self._delete, ref, gone))
        for ref, uid in gone:
            self._try(ref, partial(self._wait_gone, ref, uid))

    def _delete(self, ref: ObjectRef, gone: list[tuple[ObjectRef, str]]) -> None:
        live = _live(self.client, ref)
        if live is None:
            return
        if live["metadata"]["uid"] not in self.ours and not is_ours(live):
            self.lines.append(f"left {ref}: this tool did not apply it")
            return
        uid = live["metadata"]["uid"]
        self.client.delete(ref, uid=uid)
        gone.append((ref, uid))
        self.lines.append(f"deleted {ref}")

    def _wait_gone(self, ref: ObjectRef, uid: str) -> None:
        wait_gone(
            self.client, [(ref, uid)], self.place.clock, self.place.job.choices.timeout_seconds, self.place.progress
        )

    def put_back(self, files: Sequence[BackedUp]) -> None:
        """Create again what is gone and change what differs, in the order of apply."""
        self.place.progress.begin("restore", len(files), "objects")
        for entry in files:
            self._try(entry.ref, partial(self._one, entry))
            self.place.progress.advance("restore", 1)

    def _one(self, entry: BackedUp) -> None:
        saved = self.saved[entry.ref.identity] = read_saved(self.folder, entry)
        live = _live(self.client, entry.ref)
        if live is not None and live["metadata"].get("deletionTimestamp"):
            self._wait_gone(entry.ref, live["metadata"]["uid"])
            live = _live(self.client, entry.ref)
        if live is not None and not self._change(entry, saved, live):
            return
        if live is None:
            self._create(entry, saved)
        self.returned.append(entry.ref)
        if entry.kind in _GROUND:
            wait_ready(
                self.client, [entry.ref], self.place.clock, self.place.job.choices.timeout_seconds, self.place.progress
            )

    def _change(self, entry: BackedUp, saved: dict[str, Any], live: dict[str, Any]) -> bool:
        uid = live["metadata"]["uid"]
        if uid != entry.uid:
            self.renamed[entry.uid] = uid
        try:
            differed = restore_content(self.client, saved)
        except StepFailed:
            if uid == entry.uid:
                raise
            # It was deleted and created anew, so what cannot change in place may go the same way back.
            self.client.delete(entry.ref, uid=uid)
            self._wait_gone(entry.ref, uid)
            self._create(entry, saved)
            return True
        if differed:
            self.lines.append(f"put back {entry.ref}")
        return differed

    def _create(self, entry: BackedUp, saved: dict[str, Any]) -> None:
        references = saved["metadata"].get("ownerReferences") or []
        owners = {x["uid"] for x in references if self._is_there(x, entry.namespace)}

        def created(uid: str) -> None:
            self.renamed[entry.uid] = uid
            self.created.append(uid)
            if self.before:
                note_created(self.before, self.created)

        note = recreate(self.client, saved, owners, self.renamed, created)
        self.lines.append(f"created {entry.ref} again{f', {note}' if note else ''}")

    def _is_there(self, reference: dict[str, Any], namespace: str) -> bool:
        api_version, kind = reference.get("apiVersion", ""), reference.get("kind", "")
        if not self.client.serves(api_version, kind):
            return False
        space = namespace if self.client.is_namespaced(api_version, kind) else ""
        owner = self.client.get(ObjectRef(api_version, kind, space, reference.get("name", "")))
        return owner is not None and owner["metadata"]["uid"] == reference.get("uid")

    def wait_old_version(self) -> None:
        """Wait until what was put back runs, where it ran when it was saved."""
        for ref in self.returned:
            saved = self.saved[ref.identity]
            if ref.kind in POD_MAKERS | {"Pod"} and assess(saved).state == "ready":
                self._try(ref, partial(self._wait_ready, ref))

    def _wait_ready(self, ref: ObjectRef) -> None:
        for done in wait_ready(
            self.client, [ref], self.place.clock, self.place.job.choices.timeout_seconds, self.place.progress
        ):
            self.lines.append(f"{ref}: {done.text} ({done.seconds:.1f} s)")

    def compare(self, files: Sequence[BackedUp], absent: Sequence[Named]) -> None:
        """Look at every object once more: only what the server says now counts."""
        for entry in files:
            self._try(entry.ref, partial(self._same, entry))
        for item in absent:
            self._try(item.ref, partial(self._still_absent, item.ref))

    def _same(self, entry: BackedUp) -> str | None:
        live = _live(self.client, entry.ref)
        if live is None:
            return "deleted"
        saved = self.saved.get(entry.ref.identity) or read_saved(self.folder, entry)
        return None if is_back(saved, live, FIELD_MANAGER) else "changed"

    def _still_absent(self, ref: ObjectRef) -> str | None:
        live = _live(self.client, ref)
        mine = live is not None and (live["metadata"]["uid"] in self.ours or is_ours(live))
        return "created" if mine else None

    def _try(self, ref: ObjectRef, act: Callable[[], str | None]) -> None:
        """Do one thing; the first thing that is wrong with each object is kept, and a dead server is asked once."""
        try:
            if self.away is not None:
                raise self.away
            problem = act()
        except CompassError as error:
            if isinstance(error, Transient):
                self.away = error
            problem = f"not known: {error}" if self.away else str(error)
        if problem:
            self.failed.setdefault(ref.identity, f"{ref}: {problem}")
