"""Values of the images room: what is known of an image, and where its bytes are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, Protocol

from compass.digests import Digest
from compass.names import ImageName

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
GZIP_LAYERS = frozenset({OCI_LAYER_GZIP, DOCKER_LAYER_GZIP})
INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})


@dataclass(frozen=True)
class StoredImage:
    """An image whose blobs are all in one ``BlobSource``.

    ``digest`` is that of its manifest or index, ``config_digests`` those of the configs below it (one for each
    architecture; the content's identity whatever the compression), ``size_bytes`` the sum of its blobs.
    """

    name: ImageName
    digest: Digest
    media_type: str
    config_digests: tuple[Digest, ...]
    size_bytes: int


class BlobSource(Protocol):
    """Blobs by digest; every ``open`` is independent of the others, so threads may share a source."""

    def open(self, digest: Digest) -> BinaryIO:
        """Return a seekable stream of one blob, at its start."""

    def size(self, digest: Digest) -> int:
        """Return the size of a blob in bytes."""

    def __contains__(self, digest: object) -> bool:
        """Tell whether the source holds a blob."""
