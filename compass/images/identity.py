"""Whether two images are the same: by the digest of the manifest, else by the config, the content's own identity."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from compass.digests import Digest
from compass.errors import InvalidInput
from compass.images.manifests import ATTESTATION, Index, Manifest, Tree, read_manifest
from compass.images.model import INDEX_TYPES, MANIFEST_TYPES
from compass.images.registry.client import Registry, RemoteManifest
from compass.names import ImageName


@dataclass(frozen=True)
class Published:
    """What a tag points to in a registry; ``config_digests`` are those of the images below it."""

    digest: Digest
    config_digests: tuple[Digest, ...]


def same_content(remote: RemoteManifest, tree: Tree) -> bool:
    """Tell whether a manifest of a registry is our image, its layers compressed by somebody else.

    The config names the uncompressed layers, so the same config and number of layers is the same image.
    """
    document = _parsed(remote)
    return (
        isinstance(document, Manifest)
        and bool(tree.blobs)
        and document.config.digest == tree.blobs[0].digest
        and len(document.layers) == len(tree.blobs) - 1
    )


def published(registry: Registry, names: Iterable[ImageName]) -> dict[ImageName, Published | None]:
    """Return what the registry has under each name (by its digest if it has one, else its tag); ``None``: nothing."""
    return {name: _published(registry, name) for name in names}


def _published(registry: Registry, name: ImageName) -> Published | None:
    manifest = registry.get_manifest(name.repository, name.digest or name.tag)
    if manifest is None:
        return None
    return Published(manifest.digest, tuple(_configs(registry, name.repository, manifest)))


def same_image(registry: Registry, name: ImageName, running_digest: Digest, config_digests: Iterable[Digest]) -> bool:
    """Tell whether what runs under a digest is the image that ``name`` means.

    ``running_digest`` is what a node reports: a manifest, an index, or (old Docker) the config itself.
    ``config_digests`` are those of the image as the bundle has it; a digest in ``name`` is that of its manifest.
    """
    configs = set(config_digests)
    if running_digest == name.digest or running_digest in configs:
        return True
    running = registry.get_manifest(name.repository, running_digest)
    return running is not None and bool(configs.intersection(_configs(registry, name.repository, running)))


def _children(manifest: RemoteManifest) -> list[Digest]:
    document = _parsed(manifest)
    if not isinstance(document, Index):
        return []
    return [child.digest for child in document.manifests if ATTESTATION not in child.note]


def _configs(registry: Registry, repository: str, manifest: RemoteManifest) -> list[Digest]:
    document = _parsed(manifest)
    if isinstance(document, Manifest):
        return [document.config.digest]
    found = [registry.get_manifest(repository, child) for child in _children(manifest)]
    parsed = [_parsed(child) for child in found if child is not None]
    return [child.config.digest for child in parsed if isinstance(child, Manifest)]


def _parsed(manifest: RemoteManifest) -> Manifest | Index | None:
    if manifest.media_type not in MANIFEST_TYPES | INDEX_TYPES:
        return None  # a signature, or Docker's first schema: no image that we could have loaded
    try:
        return read_manifest(manifest.data, str(manifest.digest))
    except InvalidInput:
        return None
