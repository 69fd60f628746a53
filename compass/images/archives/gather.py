"""The images of a bundle's archives, gathered once to be carried far: compressed well, and the same way every time."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from compass.bundle.files import BundleFiles
from compass.digests import Digest
from compass.errors import InvalidInput
from compass.images.archives.assemble import SavedEntry, read_diff_ids
from compass.images.archives.content import Content, Layer, read_content
from compass.images.archives.known import KnownLayers
from compass.images.archives.members import Member
from compass.images.archives.normalise import normalise
from compass.images.archives.storing import NO_LAYERS
from compass.images.compression import Compression
from compass.images.deflate import BlockGzip
from compass.images.layout import Layout
from compass.images.manifests import fit, read_json
from compass.images.model import StoredImage
from compass.names import ImageName
from compass.progress import Progress

LOOK = "look for known layers"


def gather(
    files: BundleFiles,
    archives: list[str],
    layout: Layout,
    progress: Progress,
    *,
    digests: Mapping[str, Digest],
    elsewhere: Mapping[Digest, Layer] = NO_LAYERS,
) -> list[StoredImage]:
    """Bring the images of archives into an empty layout and return each once, sorted by name.

    One archive is read at a time, so that no layer is compressed twice; its blocks are compressed on all processors.
    ``digests`` and ``elsewhere`` are as for ``normalise``.

    Raises:
        InvalidInput: an archive is bad, or two hold different images of one name.
        Refused: the disk is full.
        StepFailed: the disk said no for another reason.
    """
    if elsewhere:
        _recognise(files, archives, layout, progress, digests, elsewhere)
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(max_workers=threads) as pool:
        found = normalise(
            files, archives, layout, progress, workers=1, digests=digests,
            compressor=lambda: BlockGzip(pool, 2 * threads), elsewhere=elsewhere,
        )  # fmt: skip
    return each_once((f"{files}/{name}", image) for name in sorted(found) for image in found[name])


def _recognise(
    files: BundleFiles,
    archives: list[str],
    layout: Layout,
    progress: Progress,
    digests: Mapping[str, Digest],
    elsewhere: Mapping[Digest, Layer],
) -> None:
    """Note which members are layers that lie elsewhere, so that they need not be compressed to find that out.

    It is what the archives say of themselves; whoever takes such a layer hashes the member, and compares.
    """
    known = KnownLayers(layout)
    progress.begin(LOOK, sum(map(files.size, archives)), "bytes")
    for name in archives:
        with files.open(name) as stream:
            where = f"{files}/{name}"
            content = read_content(stream, where, Naming(), lambda piece: progress.advance(LOOK, len(piece)))
        for member, diff_id in _named_layers(content):
            layer, there = content.layer(member), elsewhere.get(diff_id)
            if layer and there and not layer.kept:
                known.put(content.resolve(member), layer.size, there, digests[name])


def _named_layers(content: Content) -> Iterator[tuple[str, Digest]]:
    """Yield the members that ``manifest.json`` names as layers, with the diff IDs that the configs name."""
    saved = content.document("manifest.json")
    where = f"{content.where}: manifest.json"
    entries = read_json(saved, where) if saved is not None else []
    for value in entries if isinstance(entries, list) else []:
        entry = fit(SavedEntry, value, where)
        config = content.document(posixpath.normpath(entry.Config))
        diff_ids = read_diff_ids(config, f"{content.where}: {entry.Config}") if config is not None else []
        yield from ((posixpath.normpath(x), Digest(y)) for x, y in zip(entry.Layers, diff_ids, strict=False))


class Naming:
    """Layers are passed; what stays is their size, and whether they are compressed."""

    def plain(self, member: Member, where: str) -> Layer:
        """Pass it."""
        return Layer(Digest(""), member.size, Digest(""), "", kept=False)

    def kept(self, member: Member, kind: Compression, where: str) -> Layer:
        """Pass it."""
        return Layer(Digest(""), member.size, Digest(""), kind, kept=True)


def each_once(found: Iterable[tuple[str, StoredImage]]) -> list[StoredImage]:
    """Return images by name, whatever the host: at a site they come under one; beside each is where it was found.

    Raises:
        InvalidInput: there are two different ones of one name.
    """
    images: dict[ImageName, tuple[str, StoredImage]] = {}
    for where, image in found:
        first_where, first = images.setdefault(image.name.at(""), (where, image))
        if first.digest != image.digest:
            found_both = f"two images of this name: {first.digest} in {first_where}, {image.digest} in {where}"
            raise InvalidInput("pack image", image.name, found=found_both, expected="one")
    return sorted((image for _, image in images.values()), key=lambda x: x.name)
