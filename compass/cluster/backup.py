"""The backup: a snapshot on disk that was read back before it counts.

Layout: ``release_backup/<namespace>/<name>.yaml`` for Releases as the old scripts had it, ``objects/<kind>.<group>/
<namespace>/<name>.yaml`` for everything else, and ``index.json`` (docs/formats.md, section Backup).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import field_validator

from compass.cluster.client import ClusterClient
from compass.documents import Document, dump_yaml, load_yaml
from compass.errors import InvalidInput, StepFailed
from compass.names import ObjectRef
from compass.progress import Progress
from compass.store import folder_aside, private_folder

INDEX = "index.json"
RELEASE_KINDS = (("release.caicloud.io/v1alpha1", "Release"), ("release.caicloud.io/v1beta1", "Release"))


class Named(Document):
    """One object, and the component that it belongs to where a plan knew."""

    api_version: str
    kind: str
    namespace: str
    name: str
    component: str = ""

    @property
    def ref(self) -> ObjectRef:
        """The object's name."""
        return ObjectRef(self.api_version, self.kind, self.namespace, self.name)


class BackedUp(Named):
    """One file of a backup and the object in it; ``file`` is relative to the backup.

    ``touched`` tells whether the upgrade that the backup was made for changes or deletes the object.
    """

    file: str
    sha256: str
    uid: str
    resource_version: str
    touched: bool = False

    @field_validator("file")
    @classmethod
    def _lies_inside(cls, file: str) -> str:
        path = PurePosixPath(file)
        if path.is_absolute() or not path.parts or ".." in path.parts:
            raise ValueError("a path that leads out of the backup")
        return file


class BackupIndex(Document):
    """What a backup holds: ``absent`` are objects that the upgrade creates, which a restore removes.

    ``continues`` is the backup of an interrupted run whose objects, as they were before it, are taken over here.
    """

    format: Literal[1] = 1
    cluster: str
    server: str
    cluster_uid: str
    taken: str
    bundle: str
    bundle_digest: str
    tool: str
    releases: int
    files: tuple[BackedUp, ...]
    absent: tuple[Named, ...] = ()
    continues: str = ""

    @property
    def touched(self) -> tuple[BackedUp, ...]:
        """What the upgrade changes or deletes."""
        return tuple(x for x in self.files if x.touched)


@dataclass(frozen=True)
class Snapshot:
    """The objects of a cluster that a backup will hold; ``touched`` is the component of each that is to change."""

    releases: list[dict[str, Any]]
    objects: list[dict[str, Any]]
    absent: list[ObjectRef]
    touched: dict[tuple[str, str, str, str], str] = field(default_factory=dict)


def take_snapshot(
    client: ClusterClient, refs: Iterable[ObjectRef], touched: Mapping[ObjectRef, str] | None = None
) -> Snapshot:
    """Read every Release, by paged lists, and each object that ``refs`` names.

    ``touched`` leads from what an upgrade changes to its component; of what is absent only that is noted.
    """
    acting = {ref.identity: component for ref, component in (touched or {}).items()}
    kind = release_kind(client)
    releases = client.list_all(*kind) if kind else []
    known = {ObjectRef.of(x).identity for x in releases}
    objects, absent = [], []
    for ref in dict.fromkeys(refs):
        if ref.identity in known:
            continue
        item = client.get(ref) if client.serves(ref.api_version, ref.kind) else None
        if item is not None:
            objects.append(item)
        elif touched is None or ref.identity in acting:
            absent.append(ref)
    return Snapshot(releases, objects, absent, acting)


def continued(snapshot: Snapshot, folder: Path, index: BackupIndex) -> Snapshot:
    """Return the snapshot with what an interrupted run touched as it was before that run.

    Raises:
        StepFailed: a file of the earlier backup is not what its index says.
    """
    earlier = {x.ref.identity: x for x in (*index.touched, *index.absent)}
    saved = [read_saved(folder, x) for x in index.touched]
    is_release = {x for x in earlier if x[1] == "Release" and x[0].startswith("release.")}

    def merged(items: list[dict[str, Any]], *, releases: bool) -> list[dict[str, Any]]:
        kept = [x for x in items if ObjectRef.of(x).identity not in earlier]
        return [*kept, *(x for x in saved if (ObjectRef.of(x).identity in is_release) == releases)]

    absent = [x for x in snapshot.absent if x.identity not in earlier]
    return Snapshot(
        merged(snapshot.releases, releases=True), merged(snapshot.objects, releases=False),
        [*absent, *(x.ref for x in index.absent)],
        {**{x: earlier[x].component for x in earlier}, **snapshot.touched},
    )  # fmt: skip


def release_kind(client: ClusterClient) -> tuple[str, str] | None:
    """Return API version and kind under which a cluster serves Releases, ``None`` where it has none."""
    return next((x for x in RELEASE_KINDS if client.serves(*x)), None)


def cluster_uid(client: ClusterClient) -> str:
    """Return what identifies a cluster whatever it is called: the uid of its namespace kube-system."""
    item = client.get(ObjectRef("v1", "Namespace", "", "kube-system"))
    return str(item["metadata"]["uid"]) if item else ""


def write_backup(folder: Path, snapshot: Snapshot, about: dict[str, Any], progress: Progress) -> BackupIndex:
    """Write a backup to ``folder``, which appears only once every file was synced, read back and found equal.

    Raises:
        Refused: the disk is full.
        StepFailed: a file cannot be written, or does not read back as what it should be.
    """
    items = [(release_file(x), x) for x in snapshot.releases] + [(object_file(x), x) for x in snapshot.objects]
    progress.begin("back up", len(items), "objects")
    with folder_aside(folder) as aside:
        files = []
        for file, item in items:
            files.append(_write(aside, file, item, snapshot.touched))
        _sync(aside, files)
        for entry, (_, item) in zip(files, items, strict=True):
            _read_back(aside, entry, item)
            progress.advance("back up", 1)
        absent = tuple(_named(x, snapshot.touched) for x in snapshot.absent)
        index = BackupIndex(**about, releases=len(snapshot.releases), files=tuple(files), absent=absent)
        with (aside / INDEX).open("xb") as out:
            (aside / INDEX).chmod(0o600)
            out.write(json.dumps(index.model_dump(), indent=1).encode())
            out.flush()
            os.fsync(out.fileno())
    return read_index(folder)


def _named(ref: ObjectRef, touched: Mapping[tuple[str, str, str, str], str]) -> Named:
    return Named(
        api_version=ref.api_version, kind=ref.kind, namespace=ref.namespace, name=ref.name,
        component=touched.get(ref.identity, ""),
    )  # fmt: skip


def _write(folder: Path, file: str, item: dict[str, Any], touched: Mapping[tuple[str, str, str, str], str]) -> BackedUp:
    path = folder / file
    private_folder(path.parent)
    data = dump_yaml(item, sort_keys=True).encode()  # as kubectl prints it
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(data)
    ref, metadata = ObjectRef.of(item), item["metadata"]
    return BackedUp(
        file=file, sha256=hashlib.sha256(data).hexdigest(), api_version=ref.api_version, kind=ref.kind,
        namespace=ref.namespace, name=ref.name, uid=metadata.get("uid", ""),
        resource_version=metadata.get("resourceVersion", ""), component=touched.get(ref.identity, ""),
        touched=ref.identity in touched,
    )  # fmt: skip


def _sync(folder: Path, files: Sequence[BackedUp]) -> None:
    """Make all files durable; in one go at the end, since the first sync writes out what the others wait for."""
    for entry in files:
        descriptor = os.open(folder / entry.file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read_back(folder: Path, entry: BackedUp, item: dict[str, Any] | None) -> None:
    data = (folder / entry.file).read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != entry.sha256:
        raise StepFailed("verify backup", folder / entry.file, found=f"sha256 {found}", expected=entry.sha256)
    if item is not None and load_yaml(data, str(folder / entry.file)) != item:
        raise StepFailed("verify backup", folder / entry.file, found="not what the server gave", expected=entry.name)


def read_index(folder: Path) -> BackupIndex:
    """Return the index of a backup.

    Raises:
        InvalidInput: there is none, or it is damaged.
    """
    try:
        return BackupIndex.model_validate_json((folder / INDEX).read_bytes())
    except OSError as error:
        raise InvalidInput("read backup", folder / INDEX, found=error.strerror or str(error)) from None
    except ValueError:
        raise InvalidInput(
            "read backup", folder / INDEX, found="damaged", expected="an index as docs/formats.md says"
        ) from None


def read_saved(folder: Path, entry: BackedUp) -> dict[str, Any]:
    """Return an object as a backup has it.

    Raises:
        StepFailed: the file is not what the index says.
    """
    _read_back(folder, entry, None)
    item: dict[str, Any] = load_yaml((folder / entry.file).read_bytes(), str(folder / entry.file))
    if (found := _ref_of(item)) != entry.ref:
        raise StepFailed("read backup", folder / entry.file, found=str(found or "no object"), expected=str(entry.ref))
    return item


def _ref_of(item: object) -> ObjectRef | None:
    try:
        return ObjectRef.of(item) if isinstance(item, dict) else None
    except (KeyError, TypeError, AttributeError):
        return None


def verify_backup(folder: Path) -> BackupIndex:
    """Read every file of a backup and return its index.

    Raises:
        StepFailed: a file is not what the index says.
        InvalidInput: the index is damaged.
    """
    index = read_index(folder)
    for entry in index.files:
        if not (folder / entry.file).is_file():
            raise StepFailed("verify backup", folder / entry.file, found="no such file", expected=entry.sha256)
        _read_back(folder, entry, None)
    return index


def release_file(item: dict[str, Any]) -> str:
    """Return where a Release lies in a backup, as the old scripts had it."""
    return f"release_backup/{item['metadata']['namespace']}/{item['metadata']['name']}.yaml"


def object_file(item: dict[str, Any]) -> str:
    """Return where any other object lies in a backup."""
    ref = ObjectRef.of(item)
    kind = f"{ref.kind}.{ref.group}" if ref.group else ref.kind
    name = ref.name.replace("/", "_").replace(":", "_")
    return f"objects/{kind}/{ref.namespace or '_cluster'}/{name}.yaml"
