"""What a packed bundle consists of: decided from the names and the definition of its source, nothing is read here."""

from __future__ import annotations

import re
from collections.abc import Sequence

from compass.bundle.definition import BaseBundle, BundleImage, Definition
from compass.bundle.legacy import image_archives
from compass.documents import dump_yaml
from compass.errors import InvalidInput

DEFINITION = "bundle.yaml"
CHECKSUMS = "checksums.txt"
SIGNATURE = "checksums.txt.sig"
LAYOUT_FOLDER = "oci"
_LOOKS_LIKE_AN_ARCHIVE = re.compile(r"images/.*\.(?:t[a-z]z2?|tar(?:\.\w+)?)", re.IGNORECASE)


def carried_files(names: Sequence[str], definition: Definition, where: str) -> list[str]:
    """Return the files that are taken over as they are: all but images, definition, checksums and signature.

    Raises:
        InvalidInput: images lie where they would be overlooked, or in two forms.
    """
    archives = image_archives(names)
    has_layout = f"{LAYOUT_FOLDER}/index.json" in names
    if archives and has_layout:
        raise _wrong(where, f"both {LAYOUT_FOLDER}/index.json and {archives[0]}", "images in one form")
    listing = definition.checksums or CHECKSUMS
    apart = {DEFINITION, CHECKSUMS, SIGNATURE, listing, f"{listing}.sig", *archives}
    files = [x for x in names if x not in apart and not (has_layout and x.startswith(f"{LAYOUT_FOLDER}/"))]
    for name in files:
        if _LOOKS_LIKE_AN_ARCHIVE.fullmatch(name):
            raise _wrong(where, name, "images as .tar, .tar.gz, .tgz or .tar.zst directly below images/")
        if name.startswith(f"{LAYOUT_FOLDER}/"):
            raise _wrong(where, name, f"an {LAYOUT_FOLDER}/index.json beside it")
    return sorted(files)


def completed(
    definition: Definition, images: Sequence[BundleImage], base: BaseBundle | None, version: str
) -> Definition:
    """Return the definition of the packed bundle: all its images, what it relies on, its version and checksums."""
    metadata = definition.metadata.model_copy(update={"to": version})
    update = {"metadata": metadata, "images": tuple(images), "base": base, "checksums": CHECKSUMS}
    return definition.model_copy(update=update)


def definition_text(definition: Definition) -> str:
    """Return a ``bundle.yaml``; what has its default value is left out."""
    return dump_yaml(definition.model_dump(mode="json", by_alias=True, exclude_defaults=True))


def _wrong(where: str, found: str, expected: str) -> InvalidInput:
    return InvalidInput("pack", where, found=found, expected=expected)
