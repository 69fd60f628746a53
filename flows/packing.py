"""The options of ``pack``, and of the verbs that ask nothing but the bundle."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from compass.errors import InvalidInput
from compass.steps.destination import PackOrder
from flows.options import HOW, SHOW, WHERE, Options
from flows.screen import Output

PACKING = Group("Packing", sort_key=0)
MIN_PART_BYTES = 1 << 16
_SIZE = re.compile(r"([0-9]+)([KMGT]?)(i?B)?", re.IGNORECASE)


@Parameter(name="*")
@dataclass(frozen=True)
class Packing:
    """How a bundle is packed."""

    base: Annotated[Path | None, Parameter(group=PACKING)] = None
    "Packed bundle that the sites have loaded: its blobs are left out, and relied on."
    split: Annotated[str | None, Parameter(group=PACKING)] = None
    "Write parts of this size: 4GiB, 700M."
    outer: Annotated[tuple[Path, ...] | None, Parameter(group=PACKING, consume_multiple=True, negative="")] = None
    "Make the outer package compass-upgrade-A-B.tar.gz, with these packages beside the bundle."
    from_: Annotated[str | None, Parameter(name="--from", group=PACKING)] = None
    "Version that the outer package leads from, where the bundle does not say."
    to: Annotated[str | None, Parameter(group=PACKING)] = None
    "Version that the bundle leads to, where it does not say."
    sign: Annotated[Path | None, Parameter(group=PACKING)] = None
    "Ed25519 private key (PEM) to sign the checksums with."
    force: Annotated[bool, Parameter(group=PACKING, negative="")] = False
    "Replace the output if it is there."

    def order(self, output: Path) -> PackOrder:
        """Return what the core is asked for; paths are made absolute.

        Raises:
            InvalidInput: an option has no sense.
        """
        return PackOrder(
            output=output.expanduser().absolute(),
            base=_absolute(self.base),
            part_bytes=part_size(self.split) if self.split is not None else None,
            beside=tuple(x.expanduser().absolute() for x in self.outer) if self.outer is not None else None,
            from_version=self.from_ or "",
            to_version=self.to or "",
            key=_absolute(self.sign),
            force=self.force,
        )


def _absolute(path: Path | None) -> Path | None:
    return path.expanduser().absolute() if path is not None else None


@Parameter(name="*")
@dataclass(frozen=True)
class Alone:
    """What a verb is told that asks nothing but the bundle."""

    key: Annotated[Path | None, Parameter(group=HOW)] = None
    "Ed25519 public key (PEM) that must have signed the bundle."
    state_dir: Annotated[Path, Parameter(group=WHERE)] = Options.state_dir
    "Where a compressed bundle is unpacked."
    output: Annotated[Output, Parameter(group=SHOW)] = "text"
    "How results are printed on standard output."
    quiet: Annotated[bool, Parameter(group=SHOW, negative="")] = False
    "Show no progress."

    @property
    def options(self) -> Options:
        """The same among the options that all verbs share."""
        return Options(key=self.key, state_dir=self.state_dir, output=self.output, quiet=self.quiet)


PACK_DEFAULTS, ALONE = Packing(), Alone()


def part_size(text: str) -> int:
    """Return a size in bytes: ``700M`` and ``700MiB`` count in 1024s, ``700MB`` in 1000s, as ``split`` does.

    Raises:
        InvalidInput: it is no size, or too small to be one of parts.
    """
    match = _SIZE.fullmatch(text.strip())
    if not match or (match[3] and not match[2]):
        raise InvalidInput("read option", "--split", found=repr(text), expected="a size such as 4GiB or 700M")
    step = 1000 if (match[3] or "").upper() == "B" else 1024
    size: int = int(match[1]) * step ** " KMGT".index(match[2].upper() or " ")
    if size < MIN_PART_BYTES:
        raise InvalidInput("read option", "--split", found=repr(text), expected=f"at least {MIN_PART_BYTES} bytes")
    return size
