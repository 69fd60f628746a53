"""Step: make one packed bundle of a bundle in any form, the same bytes for the same content."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from compass.bundle import packed
from compass.bundle.checksums import bundle_digest, write_checksums
from compass.bundle.definition import BundleImage, Definition
from compass.bundle.files import DirectoryFiles
from compass.bundle.open import Bundle, check_signature, verify_bundle
from compass.bundle.outer import component_member, fellow_members
from compass.bundle.parts import ELSEWHERE, ArchiveWriter
from compass.bundle.signature import SigningKey
from compass.bundle.tarball import TarMember, tar_size, tar_stream
from compass.digests import Digest, chunks, digest_of, hexadecimal
from compass.documents import Document
from compass.errors import InvalidInput
from compass.images.archives.gather import each_once, gather
from compass.images.deflate import FASTEST, BlockGzip
from compass.images.layout import Layout
from compass.images.manifests import Tree, layout_index, read_tree
from compass.images.model import OCI_LAYER_ZSTD, BlobSource, StoredImage
from compass.steps.destination import Destination, PackOrder, find_destination
from compass.steps.images import layout_inside, wrong_images
from compass.steps.old_bundle import OldBundle, open_old
from compass.steps.prepare import signing_key
from compass.steps.workplace import Workplace
from compass.store import need_space, work_folder

STEP = "write bundle"
LAYOUT_FILE = b'{"imageLayoutVersion":"1.0.0"}\n'


class Packed(Document):
    """What was written; ``left_out_bytes`` is the size of the blobs that the base holds."""

    name: str
    version: str
    digest: str
    files: tuple[str, ...]
    size_bytes: int
    images: tuple[BundleImage, ...]
    blobs: int
    base: str = ""
    left_out: int = 0
    left_out_bytes: int = 0
    is_signed: bool = False


@dataclass
class _Images:
    """The images to be packed, and every blob of theirs with its size; ``documents`` are manifests and configs."""

    stored: list[StoredImage]
    source: BlobSource
    sizes: dict[Digest, int] = field(default_factory=dict)
    documents: set[Digest] = field(default_factory=set)

    def add(self, tree: Tree) -> None:
        self.sizes |= tree.sizes()
        self.documents |= tree.documents()

    @property
    def layers(self) -> set[Digest]:
        return self.sizes.keys() - self.documents

    @property
    def declared(self) -> list[BundleImage]:
        return [BundleImage(name=str(x.name), digest=x.digest, size=x.size_bytes) for x in self.stored]

    def take(self, digest: Digest) -> BinaryIO:
        """Return a blob to be read for the last time."""
        return self.source.take(digest) if isinstance(self.source, Layout) else self.source.open(digest)


def pack(place: Workplace, order: PackOrder) -> Packed:
    """Write the packed bundle aside, and move it into place when it is whole and on disk for good.

    Raises:
        InvalidInput: the bundle, one of its images, or something asked for is wrong.
        Refused: the output is there already, or there is not enough space.
        StepFailed: the disk says no, or a file changed meanwhile.
    """
    bundle = place.bundle
    if bundle.definition.base:
        found = f"a bundle that relies on {bundle.definition.base}"
        raise InvalidInput("pack", bundle.where, found=found, expected="a whole one")
    key = SigningKey.read(order.key) if order.key else None
    destination = find_destination(bundle, order)
    fellows = fellow_members(destination.stem, order.beside or ())
    carried = packed.carried_files(bundle.files.names(), bundle.definition, bundle.where)
    _note_left_out(place)
    _, sums = verify_bundle(bundle, place.progress)
    if trusted := signing_key(place.job):
        check_signature(bundle, trusted)
    old = open_old(place, order.base) if order.base else None
    _need_space(destination, bundle, old, fellows)
    with work_folder(destination.path.parent) as work:
        images = _images(place, sums, old, work / "images")
        base = old.relied_on(images.layers) if old else None
        if old and not base:
            place.progress.note(f"no blob of {order.base} is needed: this becomes a whole bundle")
        definition = packed.completed(bundle.definition, images.declared, base, destination.version)
        contents = _Contents(bundle, definition, {x: sums[x] for x in carried}, images)
        members = contents.members(key.sign(contents.checksums.encode()) if key else None)
        (work / "out").mkdir()
        with ArchiveWriter(work / "out", destination.path.name, order.part_bytes) as writer:
            if order.beside is None:
                _write(place, members, writer.write)
            else:
                _write_compressed(place, [component_member(destination.stem, members), *fellows], writer)
            files = destination.put(writer.finish())
    return Packed(
        name=definition.metadata.name,
        version=definition.metadata.to,
        digest=contents.digest,
        files=tuple(map(str, files)),
        size_bytes=writer.size,
        images=definition.images,
        blobs=len(contents.blobs),
        base=str(base) if base else "",
        left_out=len(base.blobs) if base else 0,
        left_out_bytes=sum(x.size for x in base.blobs) if base else 0,
        is_signed=key is not None,
    )


def _need_space(destination: Destination, bundle: Bundle, old: OldBundle | None, fellows: list[TarMember]) -> None:
    """Check that what will be written fits, as far as that is known: what is compressed does not grow again."""
    size = sum(map(bundle.files.size, bundle.covered)) + sum(x.size for x in fellows)
    saved = sum(x.size for x in old.blobs.values()) if old else 0
    need_space(destination.path.parent, max(0, size - saved), "pack", do=ELSEWHERE)


def _note_left_out(place: Workplace) -> None:
    files = place.bundle.files
    if isinstance(files, DirectoryFiles) and Path(place.bundle.where) == files.root:
        apart = sorted(set(DirectoryFiles(files.root).names()) - set(files.names()))
        if apart:
            place.progress.note(f"left out, as what somebody wrote beside the bundle: {', '.join(apart)}")


def _images(place: Workplace, sums: dict[str, str], old: OldBundle | None, folder: Path) -> _Images:
    bundle = place.bundle
    if bundle.has_layout:
        inside = layout_inside(bundle)
        images = _Images(each_once((bundle.where, x) for x in inside.images()), inside)
    else:
        archives = bundle.image_archives
        if bundle.is_legacy and not archives:
            raise InvalidInput("pack", bundle.where, found="no image archive below images/", expected="one at least")
        layout = Layout(folder, beneath=old.source if old else None)
        digests = {x: Digest(f"sha256:{sums[x]}") for x in archives}
        layers = old.layers if old else {}
        stored = gather(bundle.files, archives, layout, place.progress, digests=digests, elsewhere=layers)
        images = _Images(stored, layout)
    for name, found, expected in wrong_images(bundle.definition.images, images.stored, may_be_more=True):
        do = "leave the digest out of bundle.yaml, and pack writes it" if found.startswith("sha256:") else ""
        raise InvalidInput("pack image", f"{bundle.where}: {name}", found=found, expected=expected, do=do)
    for image in images.stored:
        tree = read_tree(images.source, image.digest, str(image.name))
        images.add(tree)
        if any(blob.mediaType == OCI_LAYER_ZSTD for each in tree.walk() for blob in each.blobs):
            place.progress.note(f"{image.name} has layers compressed by zstd, which old nodes cannot read")
    return images


class _Contents:
    """The files of a packed bundle; ``blobs`` are those of its images that it holds."""

    def __init__(self, bundle: Bundle, definition: Definition, carried: dict[str, str], images: _Images) -> None:
        relied = {x.digest for x in definition.base.blobs} if definition.base else set()
        self.blobs = {digest: size for digest, size in images.sizes.items() if digest not in relied}
        self._files, self._images, self._carried = bundle.files, images, carried
        self._texts = {
            packed.DEFINITION: packed.definition_text(definition).encode(),
            f"{packed.LAYOUT_FOLDER}/oci-layout": LAYOUT_FILE,
            f"{packed.LAYOUT_FOLDER}/index.json": layout_index(images.stored, images.source),
        }
        sums = {name: hexadecimal(digest_of(data)) for name, data in self._texts.items()}
        sums |= carried | {_blob_name(x): hexadecimal(x) for x in self.blobs}
        self.checksums, self.digest = write_checksums(sums), bundle_digest(sums)

    def members(self, signature: bytes | None) -> list[TarMember]:
        """Return them in the order of the tar: what is small comes first, so that it is found at once."""
        definition, *texts = (_text_member(name, data) for name, data in self._texts.items())
        head = [definition, _text_member(packed.CHECKSUMS, self.checksums.encode())]
        if signature is not None:
            head.append(_text_member(packed.SIGNATURE, signature))
        carried = [
            TarMember(name, self._files.size(name), partial(_read, self._files.open, name), sha256)
            for name, sha256 in self._carried.items()
        ]
        is_layer = self._images.layers
        blobs = [
            TarMember(_blob_name(x), self.blobs[x], partial(_read, self._images.take, x), hexadecimal(x))
            for x in sorted(self.blobs, key=lambda x: (x in is_layer, x))
        ]
        return [*head, *carried, *texts, *blobs]


def _blob_name(digest: Digest) -> str:
    return f"{packed.LAYOUT_FOLDER}/blobs/sha256/{hexadecimal(digest)}"


def _text_member(name: str, data: bytes) -> TarMember:
    return TarMember(name, len(data), lambda: iter((data,)))


def _read(opened: Callable[[Any], BinaryIO], name: str) -> Iterator[bytes]:
    with opened(name) as stream:
        yield from chunks(stream)


def _write(place: Workplace, members: Sequence[TarMember], write: Callable[[bytes], None]) -> None:
    place.progress.begin(STEP, tar_size(members), "bytes")
    with closing(tar_stream(members)) as pieces:
        for piece in pieces:
            write(piece)
            place.progress.advance(STEP, len(piece))


def _write_compressed(place: Workplace, members: Sequence[TarMember], writer: ArchiveWriter) -> None:
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(max_workers=threads) as pool:
        compressor = BlockGzip(pool, 2 * threads, FASTEST)  # what is inside is compressed already
        _write(place, members, lambda piece: writer.write(compressor.compress(piece)))
        writer.write(compressor.flush())
