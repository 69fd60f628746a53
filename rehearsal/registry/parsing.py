"""A pushed manifest read as far as a registry must understand it.

Source: OCI image specification 1.1, manifest.md and image-index.md; Docker's image manifest version 2, schema 2.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from compass.digests import Digest, parse_digest
from compass.errors import InvalidInput
from compass.images.model import DOCKER_LIST, DOCKER_MANIFEST, INDEX_TYPES, MANIFEST_TYPES, OCI_INDEX, OCI_MANIFEST
from rehearsal.registry.errors import RegistryError

_MANIFEST_KEYS = frozenset({"config", "layers"})
_INDEX_KEYS = frozenset({"manifests"})


@dataclass(frozen=True)
class Parsed:
    """A manifest or an index; ``data`` are its very bytes."""

    data: bytes = field(repr=False)
    media_type: str
    document: dict[str, Any] = field(repr=False)

    @property
    def is_index(self) -> bool:
        """Tell whether it names manifests."""
        return self.media_type in INDEX_TYPES

    @property
    def needed(self) -> list[Digest]:
        """The digests that must be there before it: config and layers, or the manifests of an index.

        Raises:
            RegistryError: one is no digest.
        """
        if self.is_index:
            named = self.document.get("manifests") or []
        else:
            named = [self.document.get("config"), *(self.document.get("layers") or [])]
        # Foreign layers are fetched from elsewhere.
        return [_digest(x) for x in named if not (isinstance(x, dict) and x.get("urls"))]

    @property
    def subject(self) -> Digest | None:
        """The manifest that this one refers to."""
        subject = self.document.get("subject")
        return _digest(subject) if subject else None

    @property
    def artifact_type(self) -> str:
        """What kind of thing it is, as referrers are filtered by."""
        config = self.document.get("config") or {}
        return str(self.document.get("artifactType") or config.get("mediaType", ""))

    def default_child(self, tag: str) -> Digest:
        """Return the manifest for linux on amd64.

        Raises:
            RegistryError: there is none.
        """
        for child in self.document["manifests"]:
            platform = child.get("platform") or {}
            if (platform.get("os"), platform.get("architecture")) == ("linux", "amd64"):
                return _digest(child)
        raise RegistryError("MANIFEST_UNKNOWN", {"Tag": tag})

    def referrer(self, digest: Digest) -> dict[str, Any]:
        """Return how the list of referrers shows it."""
        shown = {"mediaType": self.media_type, "digest": digest, "size": len(self.data)}
        shown |= {"artifactType": self.artifact_type} if self.artifact_type else {}
        notes = self.document.get("annotations")
        return shown | ({"annotations": notes} if notes else {})


def parse(data: bytes, content_type: str) -> Parsed:
    """Return a manifest that a client pushes.

    Raises:
        RegistryError: it is no manifest, or not of the type that its header says.
    """
    media_type = content_type.partition(";")[0].strip()
    document = _object(data)
    said = document.get("mediaType") or ("" if media_type in (DOCKER_MANIFEST, DOCKER_LIST) else media_type)
    foreign = _MANIFEST_KEYS if media_type in INDEX_TYPES else _INDEX_KEYS
    known = media_type in INDEX_TYPES | MANIFEST_TYPES
    if not known or said != media_type or foreign & document.keys() or document.get("schemaVersion") != 2:
        raise RegistryError("MANIFEST_INVALID", {})
    return Parsed(data, media_type, document)


def reread(data: bytes) -> Parsed:
    """Return a manifest that was parsed before; its media type is what it says itself, else what it looks like."""
    document = _object(data)
    return Parsed(data, document.get("mediaType") or (OCI_INDEX if "manifests" in document else OCI_MANIFEST), document)


def _object(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise RegistryError("MANIFEST_INVALID", {})
    return document


def _digest(descriptor: Any) -> Digest:
    try:
        return parse_digest(str(descriptor["digest"]))
    except (InvalidInput, KeyError, TypeError):
        raise RegistryError("MANIFEST_INVALID", {}) from None
