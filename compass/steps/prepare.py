"""Step: open the bundle and check every byte of it."""

from __future__ import annotations

from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion
from pydantic import Field

from compass.bundle.definition import Definition
from compass.bundle.open import check_signature, verify_bundle
from compass.bundle.signature import VerifyingKey
from compass.cluster.record import Record
from compass.documents import Document
from compass.errors import Refused
from compass.job import Job
from compass.steps.workplace import Workplace


class Prepared(Document):
    """What later steps and the report need of a verified bundle; ``archives`` is the digest of each image archive."""

    name: str
    version: str
    digest: str
    is_legacy: bool
    components: tuple[str, ...]
    files: int
    size_bytes: int
    conclusions: tuple[str, ...] = ()
    archives: dict[str, str] = Field(default_factory=dict)


def prepare(place: Workplace) -> Prepared:
    """Verify the bundle against its checksums and return what it is.

    Raises:
        InvalidInput: it is damaged or no bundle, or not signed by the key that was named.
        Refused: there is no space to unpack it.
    """
    bundle = place.bundle
    key = signing_key(place.job)
    digest, sums = verify_bundle(bundle, place.progress)
    if key:
        check_signature(bundle, key)
    definition = bundle.definition
    return Prepared(
        name=definition.metadata.name,
        version=definition.metadata.to,
        digest=digest,
        is_legacy=bundle.is_legacy,
        components=tuple(x.name for x in definition.components),
        files=len(sums),
        size_bytes=sum(bundle.files.size(x) for x in sums),
        conclusions=bundle.conclusions,
        archives={x: f"sha256:{sums[x]}" for x in bundle.image_archives},
    )


def signing_key(job: Job) -> VerifyingKey | None:
    """Return the key that must have signed the bundle; ``None`` where none was named.

    Raises:
        InvalidInput: it cannot be read.
    """
    return VerifyingKey.read(Path(job.choices.key)) if job.choices.key else None


def refuse_version(definition: Definition, records: list[Record], cluster: str) -> None:
    """Check that the bundle may be applied to what the cluster says it has.

    Raises:
        Refused: the cluster's last version is none that the bundle starts from.
    """
    wanted = definition.metadata.from_versions
    done = [x for x in records if x.state in ("done", "restored") and x.version]
    if not wanted or not done or done[0].version == definition.metadata.to:
        return
    if not _within(done[0].version, wanted):
        raise Refused(
            "upgrade cluster", cluster, found=f"version {done[0].version}", expected=f"one of {wanted}",
            do="apply the bundle that leads there first",
        )  # fmt: skip


def _within(version: str, wanted: str) -> bool:
    try:
        return SpecifierSet(wanted).contains(version, prereleases=True)
    except InvalidVersion:
        return False
