"""The verbs that make and check bundles: they touch no cluster and no registry, and run the core directly."""

from __future__ import annotations

from pathlib import Path

from compass.errors import EXIT_DONE, CompassError
from compass.markdown import size_text
from compass.steps.pack import Packed
from compass.steps.pack import pack as pack_bundle
from compass.steps.verify import Verified
from compass.steps.verify import verify as verify_bundle
from compass.steps.workplace import Workplace
from flows.packing import Packing
from flows.screen import Screen


def pack(place: Workplace, screen: Screen, output: Path, packing: Packing) -> int:
    """Pack a bundle, and show what came of it."""
    done = pack_bundle(place, packing.order(output))
    screen.result(done.model_dump(mode="json"), lambda: _show_packed(screen, done))
    return EXIT_DONE


def _show_packed(screen: Screen, done: Packed) -> None:
    screen.say(f"{done.name} {done.version}", "bold")
    screen.say(f"digest  {done.digest}{', signed' if done.is_signed else ''}")
    screen.table(("image", "digest", "size"), [(x.name, x.digest, size_text(x.size or 0)) for x in done.images])
    if done.base:
        screen.say(f"relies on {done.left_out} blobs ({size_text(done.left_out_bytes)}) of {done.base}")
    screen.say(f"{done.blobs} blobs, {size_text(done.size_bytes)}:")
    for file in done.files:
        screen.say(f"  {file}")


def verify(place: Workplace, screen: Screen) -> int:
    """Check every byte of a bundle, and show what was found."""
    try:
        found = verify_bundle(place)
    except CompassError as error:
        if screen.output == "json":
            screen.result({"bundle": place.job.bundle, "is_right": False, "problem": str(error)}, lambda: None)
        raise
    value = {"bundle": place.job.bundle, "is_right": True, **found.model_dump(mode="json")}
    screen.result(value, lambda: _show_verified(screen, found))
    return EXIT_DONE


def _show_verified(screen: Screen, found: Verified) -> None:
    screen.say(f"{found.name} {found.version}", "bold")
    screen.say(f"digest  {found.digest}")
    sums = "every checksum right" if found.has_checksums else "no checksums to compare them with"
    screen.say(f"files   {found.files}, {size_text(found.size_bytes)}; {sums}")
    blobs = f", {found.blobs} blobs" if found.blobs else ""
    screen.say(f"images  {found.images}{blobs}; all whole")
    if found.base:
        screen.say(f"relies on {found.relies_on} blobs of {found.base}")
    screen.say(f"signature {found.signature}")
