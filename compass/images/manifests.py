"""Image manifests and indexes, and the tree of blobs below one.

Source: OCI image specification 1.1, manifest.md, image-index.md and descriptor.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from compass.digests import Digest, digest_of, parse_digest
from compass.errors import CompassError, InvalidInput
from compass.images.model import OCI_INDEX, OCI_MANIFEST, BlobSource, StoredImage
from compass.names import ImageName

MAX_MANIFEST_BYTES = 4 << 20
MAX_DEPTH = 4
ATTESTATION = "vnd.docker.reference.type"
CONTAINERD_NAME = "io.containerd.image.name"
REF_NAME = "org.opencontainers.image.ref.name"


def _checked_digest(text: str) -> Digest:
    try:
        return parse_digest(text)
    except CompassError as error:
        raise ValueError(str(error)) from None


class Foreign(BaseModel):
    """A document that others define: keys that we do not know are allowed, as the specification asks."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Descriptor(Foreign):
    """What a manifest says of a blob."""

    mediaType: str = ""  # noqa: N815 - the specification's key
    digest: Annotated[Digest, AfterValidator(_checked_digest)]
    size: int = Field(ge=0)
    annotations: dict[str, str] | None = None

    @property
    def note(self) -> dict[str, str]:
        """The annotations; empty where there are none."""
        return self.annotations or {}


class Manifest(Foreign):
    """An image manifest."""

    mediaType: str = ""  # noqa: N815
    config: Descriptor
    layers: list[Descriptor]


class Index(Foreign):
    """An image index, or Docker's manifest list."""

    mediaType: str = ""  # noqa: N815
    manifests: list[Descriptor]


F = TypeVar("F", bound=Foreign)


def read_json(data: bytes, where: str) -> Any:
    """Return a JSON text as a value; ``where`` names it in errors.

    Raises:
        InvalidInput: it is no JSON.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("read", where, found=str(error).splitlines()[0], expected="JSON") from None


def fit(model: type[F], value: Any, where: str) -> F:
    """Return a value as a model of a foreign document.

    Raises:
        InvalidInput: it does not fit; the first wrong place is named.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(x) for x in first["loc"]) or "top level"
        problem = first["msg"].removeprefix("Value error, ").lower()
        raise InvalidInput("read", where, found=f"{place}: {problem}") from None


def read_manifest(data: bytes, where: str) -> Manifest | Index:
    """Return a manifest or an index.

    Raises:
        InvalidInput: it is neither, or could be read as both (CVE-2021-41190).
    """
    value = read_json(data, where)
    if not isinstance(value, dict) or ("manifests" in value) == ("layers" in value):
        raise InvalidInput("read", where, expected="an image manifest (layers) or an index (manifests)")
    return fit(Index, value, where) if "manifests" in value else fit(Manifest, value, where)


def media_type_of(document: Manifest | Index) -> str:
    """Return the media type that a manifest or an index gives itself, OCI's where it gives none."""
    return document.mediaType or (OCI_INDEX if isinstance(document, Index) else OCI_MANIFEST)


@dataclass(frozen=True)
class Tree:
    """A manifest with all that it needs: ``children`` below an index, ``blobs`` (config first) below a manifest."""

    digest: Digest
    media_type: str
    data: bytes
    blobs: tuple[Descriptor, ...] = ()
    children: tuple[Tree, ...] = ()
    is_attestation: bool = False

    def walk(self) -> Iterator[Tree]:
        """Yield every manifest and index, those below before those above; the order in which a registry takes them."""
        for child in self.children:
            yield from child.walk()
        yield self

    def sizes(self) -> dict[Digest, int]:
        """Return the size of every blob and manifest, each once."""
        return {d: n for tree in self.walk() for d, n in tree._own_sizes()}

    def _own_sizes(self) -> Iterator[tuple[Digest, int]]:
        yield from ((blob.digest, blob.size) for blob in self.blobs)
        yield self.digest, len(self.data)

    def blob_sizes(self) -> dict[Digest, int]:
        """Return the size of every config and layer, each once; without manifests and indexes."""
        return {blob.digest: blob.size for tree in self.walk() for blob in tree.blobs}

    def documents(self) -> frozenset[Digest]:
        """Return what describes the images rather than being them: manifests, indexes and configs."""
        found = {tree.digest for tree in self.walk()}
        return frozenset(found | {tree.blobs[0].digest for tree in self.walk() if tree.blobs})

    def config_digests(self) -> tuple[Digest, ...]:
        """Return the config digests of the images; attestations, which carry one too, are left out."""
        found = (tree.blobs[0].digest for tree in self.walk() if tree.blobs and not tree.is_attestation)
        return tuple(dict.fromkeys(found))


def read_tree(source: BlobSource, digest: Digest, where: str) -> Tree:
    """Read a manifest or an index and check that every blob below it is there with the size that it names.

    Raises:
        InvalidInput: a blob is absent or has another size, or a manifest does not hash to its digest.
    """
    return _read_tree(source, digest, where, is_attestation=False, depth=0)


def _read_tree(source: BlobSource, digest: Digest, where: str, *, is_attestation: bool, depth: int) -> Tree:
    if depth > MAX_DEPTH:
        raise InvalidInput("read image", where, found=f"indexes nested deeper than {MAX_DEPTH}")
    data = _manifest_bytes(source, digest, where)
    document = read_manifest(data, f"{where}: {digest}")
    media_type = media_type_of(document)
    if isinstance(document, Manifest):
        blobs = (document.config, *document.layers)
        for blob in blobs:
            _check_size(source, blob, where)
        return Tree(digest, media_type, data, blobs=blobs, is_attestation=is_attestation)
    children = tuple(
        _read_tree(source, child.digest, where, is_attestation=ATTESTATION in child.note, depth=depth + 1)
        for child in document.manifests
    )
    return Tree(digest, media_type, data, children=children)


def _manifest_bytes(source: BlobSource, digest: Digest, where: str) -> bytes:
    if digest not in source:
        raise InvalidInput("read image", where, found=f"no manifest {digest}")
    if source.size(digest) > MAX_MANIFEST_BYTES:
        raise InvalidInput("read image", where, found=f"manifest {digest} of {source.size(digest)} bytes")
    with source.open(digest) as stream:
        data = stream.read()
    if digest_of(data) != digest:
        raise InvalidInput("read image", where, found=f"a manifest with digest {digest_of(data)}", expected=digest)
    return data


def _check_size(source: BlobSource, blob: Descriptor, where: str) -> None:
    if blob.digest not in source:
        raise InvalidInput("read image", where, found=f"no blob {blob.digest}")
    if source.size(blob.digest) != blob.size:
        found = f"blob {blob.digest} of {source.size(blob.digest)} bytes"
        raise InvalidInput("read image", where, found=found, expected=f"{blob.size} bytes")


def stored_image(name: ImageName, source: BlobSource, digest: Digest) -> StoredImage:
    """Return what a source holds of an image, every blob checked to be there.

    Raises:
        InvalidInput: as ``read_tree``.
    """
    tree = read_tree(source, digest, str(name))
    return StoredImage(name, digest, tree.media_type, tree.config_digests(), sum(tree.sizes().values()))


def layout_index(images: list[StoredImage], source: BlobSource) -> bytes:
    """Return the ``index.json`` of an OCI image layout that holds these images, the same bytes for the same images."""
    manifests = [
        {
            "mediaType": image.media_type,
            "digest": image.digest,
            "size": source.size(image.digest),
            "annotations": {CONTAINERD_NAME: str(image.name), REF_NAME: str(image.name)},
        }
        for image in sorted(images, key=lambda image: image.name)
    ]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
    return json.dumps(document, indent=1).encode() + b"\n"


def annotated_name(descriptor: Descriptor) -> ImageName | None:
    """Return the image name that an ``index.json`` gives to a descriptor; ``None`` where it is no full name."""
    for key in (CONTAINERD_NAME, REF_NAME):
        text = descriptor.note.get(key, "")
        if ":" in text or "/" in text:  # a bare tag is no name
            try:
                name = ImageName.parse(text)
            except InvalidInput:
                continue
            if name.tag:
                return name
    return None
