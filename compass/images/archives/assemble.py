"""From an archive's documents and layers to OCI images: every digest checked, manifests kept or written anew.

Sources: Docker image specification 1.2 (``manifest.json``, ``repositories``); OCI image specification 1.1.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from compass.digests import Digest, digest_of, hexadecimal
from compass.errors import InvalidInput
from compass.images.archives.content import Content, Layer
from compass.images.archives.members import DID
from compass.images.manifests import (
    ATTESTATION,
    MAX_DEPTH,
    Descriptor,
    Foreign,
    Index,
    Manifest,
    annotated_name,
    fit,
    media_type_of,
    read_json,
    read_manifest,
)
from compass.images.model import (
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
)
from compass.names import ImageName

DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
CONFIG_TYPES = frozenset({OCI_CONFIG, DOCKER_CONFIG})
_CONFIG_NAME = re.compile(r"([0-9a-f]{64})\.json")


class SavedEntry(Foreign):
    """One image of ``manifest.json``."""

    Config: str
    RepoTags: list[str] | None = None
    Layers: list[str]


class RootFs(Foreign):
    """The layers of a config, by the digests of their uncompressed content."""

    diff_ids: list[str] = Field(default_factory=list)


class Config(Foreign):
    """What is read of an image config."""

    rootfs: RootFs = Field(default_factory=RootFs)


@dataclass(frozen=True)
class Assembled:
    """An image of an archive under all its names."""

    names: tuple[ImageName, ...]
    digest: Digest
    config_digests: tuple[Digest, ...]


@dataclass
class _Placed:
    """A manifest or index in its final form."""

    digest: Digest
    size: int
    media_type: str
    configs: list[Digest] = field(default_factory=list)


class Assembler:
    """Puts the images of one archive together; ``documents`` collects the manifests and configs to be stored."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self.documents: dict[Digest, bytes] = {}

    def images(self) -> list[Assembled]:
        """Return every image of the archive, each once.

        Raises:
            InvalidInput: a part is absent or does not hash to what names it, or an image has no name.
        """
        saved = list(self._saved_entries())
        index = self._json("index.json")
        found: dict[Digest, tuple[_Placed, list[ImageName]]] = {}
        covered: set[Digest] = set()
        for descriptor in fit(Index, index, self._at("index.json")).manifests if index is not None else []:
            placed = self._settle(descriptor.digest, depth=0)
            names = found.setdefault(placed.digest, (placed, []))[1]
            tagged = [name for config, _, tags in saved if config in placed.configs for name in tags]
            annotated = annotated_name(descriptor)
            names += tagged or ([annotated] if annotated else [])
            covered.update(placed.configs)
        for config, entry, tags in saved:
            if config not in covered:
                placed = self._from_saved(config, entry)
                found.setdefault(placed.digest, (placed, []))[1].extend(tags)
        if not found:
            raise self._bad("", "neither manifest.json nor index.json", "what docker save writes, or an OCI archive")
        return [self._named(placed, names) for placed, names in found.values()]

    def _named(self, placed: _Placed, names: list[ImageName]) -> Assembled:
        if not names:
            what = placed.configs[0] if placed.configs else placed.digest
            do = "save it by name and tag, not by its id"
            raise InvalidInput(DID, self._content.where, found=f"image {what} without a name", do=do)
        return Assembled(tuple(dict.fromkeys(names)), placed.digest, tuple(dict.fromkeys(placed.configs)))

    # -- docker save

    def _saved_entries(self) -> Iterator[tuple[Digest, SavedEntry, list[ImageName]]]:
        """Yield config digest, entry and names of each image of ``manifest.json``."""
        entries = self._json("manifest.json")
        if entries is None:
            return
        if not isinstance(entries, list):
            raise self._bad("manifest.json", f"a {type(entries).__name__}", "a list of images")
        repositories = self._json("repositories") or {}
        for value in entries:
            entry = fit(SavedEntry, value, self._at("manifest.json"))
            texts = entry.RepoTags or list(_by_top_layer(repositories, entry))
            yield self._config_digest(entry.Config), entry, [self._name(text) for text in texts]

    def _name(self, text: str) -> ImageName:
        try:
            name = ImageName.parse(text)
        except InvalidInput as error:
            raise self._bad("manifest.json", f"{error}", "") from None
        if not name.tag:
            raise self._bad("manifest.json", f"image {text!r} without a tag", "name:tag")
        return name

    def _config_digest(self, member: str) -> Digest:
        """Return the digest of a config, which its name carries."""
        data = self._content.document(posixpath.normpath(member))
        if data is None:
            raise self._bad(member, "no such config", "the config that manifest.json names")
        digest = digest_of(data)
        named = _CONFIG_NAME.fullmatch(posixpath.basename(member))
        if named and digest != f"sha256:{named[1]}":
            raise self._bad(member, f"content with digest {digest}", f"sha256:{named[1]}")
        self.documents[digest] = data
        return digest

    def _from_saved(self, config: Digest, entry: SavedEntry) -> _Placed:
        layers = [self._saved_layer(member) for member in entry.Layers]
        self._check_diff_ids(config, [(n, layer.diff_id) for n, layer in zip(entry.Layers, layers, strict=True)])
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": config, "size": len(self.documents[config])},
            "layers": [_layer_descriptor({}, layer, OCI_MANIFEST) for layer in layers],
        }
        return self._put(document, OCI_MANIFEST, [config])

    def _saved_layer(self, member: str) -> Layer:
        layer = self._content.layer(posixpath.normpath(member))
        if layer is None and self._content.resolve(posixpath.normpath(member)) not in self._content.names:
            raise self._bad(member, "no such layer", "the layer that manifest.json names")
        if layer is None or (not layer.compression and layer.digest):
            raise self._bad(member, "neither a tar nor gzip nor zstd", "a layer")
        return layer

    # -- OCI

    def _settle(self, digest: Digest, depth: int) -> _Placed:
        """Return a manifest or index as it will be stored: byte for byte, or anew where layers were compressed."""
        member = _blob_member(digest)
        data = self._content.document(member)
        if data is None:
            raise self._bad(member, "no such manifest", "the manifest that the index names")
        document = read_manifest(data, self._at(member))
        if depth > MAX_DEPTH:
            raise self._bad(member, f"indexes nested deeper than {MAX_DEPTH}", "")
        if isinstance(document, Index):
            return self._settle_index(document, data, depth)
        return self._settle_manifest(document, data)

    def _settle_index(self, index: Index, data: bytes, depth: int) -> _Placed:
        # Docker saves the whole index of an image of which it holds one platform only.
        there = [x for x in index.manifests if self._content.document(_blob_member(x.digest)) is not None]
        if not there:
            raise self._bad("index", "no manifest that it names", "one at least")
        placed = [self._settle(x.digest, depth + 1) for x in there]
        pairs = list(zip(there, placed, strict=True))
        configs = [config for x, p in pairs if ATTESTATION not in x.note for config in p.configs]
        if len(there) == len(index.manifests) and all(x.digest == p.digest for x, p in pairs):
            return self._keep(data, media_type_of(index), configs)
        # An attestation speaks of a manifest by digest, and so of none that is written anew.
        new = {x.digest: p for x, p in pairs if ATTESTATION not in x.note}
        if len(new) == 1:
            return next(iter(new.values()))
        document = json.loads(data)
        document["manifests"] = [
            {**raw, "digest": new[raw["digest"]].digest, "size": new[raw["digest"]].size}
            for raw in document["manifests"]
            if raw["digest"] in new
        ]
        return self._put(document, media_type_of(index), configs)

    def _settle_manifest(self, manifest: Manifest, data: bytes) -> _Placed:
        config = manifest.config.digest
        config_data = self._content.document(_blob_member(config))
        if config_data is None:
            raise self._bad(_blob_member(config), "no such config", "the config that the manifest names")
        self.documents[config] = config_data
        layers = [self._blob(x) for x in manifest.layers]
        if manifest.config.mediaType in CONFIG_TYPES:
            names = [_blob_member(x.digest) for x in manifest.layers]
            self._check_diff_ids(config, [(n, x.diff_id) for n, x in zip(names, layers, strict=True)])
        if all(layer.kept for layer in layers):
            return self._keep(data, media_type_of(manifest), [config])
        document = json.loads(data)
        kind = media_type_of(manifest)
        document["layers"] = [
            _layer_descriptor(raw, layer, kind) for raw, layer in zip(document["layers"], layers, strict=True)
        ]
        return self._put(document, kind, [config])

    def _blob(self, descriptor: Descriptor) -> Layer:
        """Return a blob that a manifest lists, be it a layer or the document of an artifact."""
        member = _blob_member(descriptor.digest)
        if (data := self._content.document(member)) is not None:
            self.documents[descriptor.digest] = data
            return Layer(descriptor.digest, len(data), descriptor.digest, "", kept=True)
        layer = self._content.layer(member)
        if layer is None:
            raise self._bad(member, "no such layer", "the layer that the manifest names")
        if layer.kept and layer.digest and layer.size != descriptor.size:
            raise self._bad(member, f"{layer.size} bytes", f"{descriptor.size}")
        return layer

    # -- both

    def _check_diff_ids(self, config: Digest, layers: list[tuple[str, Digest]]) -> None:
        where = self._at(f"config {config}")
        wanted = read_diff_ids(self.documents[config], where)
        if len(wanted) != len(layers):
            raise self._bad(f"config {config}", f"{len(layers)} layers", f"{len(wanted)}")
        for (member, found), expected in zip(layers, wanted, strict=True):
            if found and found != expected:
                raise self._bad(member, f"a layer with diff id {found}", f"{expected} as its config says")

    def _keep(self, data: bytes, media_type: str, configs: list[Digest]) -> _Placed:
        digest = digest_of(data)
        self.documents[digest] = data
        return _Placed(digest, len(data), media_type, configs)

    def _put(self, document: dict[str, Any], media_type: str, configs: list[Digest]) -> _Placed:
        return self._keep(json.dumps(document, separators=(",", ":")).encode(), media_type, configs)

    def _json(self, member: str) -> Any:
        data = self._content.document(member)
        return None if data is None else read_json(data, self._at(member))

    def _at(self, member: str) -> str:
        return f"{self._content.where}: {member}"

    def _bad(self, member: str, found: str, expected: str) -> InvalidInput:
        return InvalidInput(DID, self._at(member) if member else self._content.where, found=found, expected=expected)


def read_diff_ids(config: bytes, where: str) -> list[str]:
    """Return the digests of the uncompressed layers that a config names, bottom first.

    Raises:
        InvalidInput: it is no config.
    """
    return fit(Config, read_json(config, where), where).rootfs.diff_ids


def _blob_member(digest: Digest) -> str:
    return f"blobs/sha256/{hexadecimal(digest)}"


def _layer_descriptor(raw: dict[str, Any], layer: Layer, manifest_type: str) -> dict[str, Any]:
    """Return how a manifest points to a layer, whatever else it said of it (annotations) kept."""
    if layer.kept and raw:
        return raw
    docker = manifest_type == DOCKER_MANIFEST
    gzip_type = DOCKER_LAYER_GZIP if docker else OCI_LAYER_GZIP
    media_type = OCI_LAYER_ZSTD if layer.compression == "zstd" else gzip_type
    return {**raw, "mediaType": media_type, "digest": layer.digest, "size": layer.size}


def _by_top_layer(repositories: Any, entry: SavedEntry) -> Iterator[str]:
    """Yield the names that the old ``repositories`` file gives to the image whose top layer's folder it names."""
    top = posixpath.dirname(entry.Layers[-1]) if entry.Layers else ""
    if not isinstance(repositories, dict) or not top:
        return
    for repository, tags in repositories.items():
        if isinstance(tags, dict):
            yield from (f"{repository}:{tag}" for tag, layer in tags.items() if layer == top)
