"""Verb ``inspect``: what a bundle is, and what was concluded where it does not say."""

from __future__ import annotations

from collections.abc import Sequence

from compass.bundle.open import Bundle
from compass.bundle.unpack import OtherPackage
from compass.errors import EXIT_DONE
from compass.markdown import size_text
from compass.steps.images import bundle_configs
from compass.steps.prepare import prepare
from compass.steps.workplace import Workplace
from flows.screen import Screen


def inspect(place: Workplace, screen: Screen) -> int:
    """Show what a bundle is, and what was concluded where it does not say."""
    bundle = place.bundle
    prepared = prepare(place)
    images = bundle_configs(place, prepared.archives)
    packed = {x.name: x for x in bundle.definition.images} if bundle.has_layout else {}
    value = {
        "bundle": prepared.model_dump(mode="json", exclude={"conclusions", "archives"}),
        "definition": bundle.definition.model_dump(mode="json", by_alias=True),
        "conclusions": list(bundle.conclusions),
        "images": [
            {"name": str(name), "digests": sorted(digests), **({"digest": x.digest, "size": x.size} if x else {})}
            for name, (_, digests) in sorted(images.items())
            for x in [packed.get(str(name))]
        ],
        "others": [x.model_dump() for x in bundle.others],
    }

    def text() -> None:
        screen.say(f"{prepared.name} {prepared.version}", "bold")
        screen.say(f"digest  {prepared.digest}")
        checked = bundle.definition.checksums or bundle.unpacked_sums is not None
        sums = "every checksum right" if checked else "no checksums to compare them with"
        signed = "; signed, see verify --key" if bundle.signature else ""
        screen.say(f"files   {prepared.files}, {size_text(prepared.size_bytes)}; {sums}{signed}")
        for line in bundle.conclusions:
            screen.say(f"  {line}")
        _show_components(bundle, screen)
        screen.say("")
        if packed:
            rows = [(x.name, x.digest, size_text(x.size or 0)) for x in packed.values()]
            screen.table(("image", "digest", "size"), rows)
        else:
            screen.table(("image", "config digest"), [(name, config) for name, (config, _) in sorted(images.items())])
        _show_base(bundle, screen)
        _show_others(bundle.others, screen)

    screen.result(value, text)
    return EXIT_DONE


def _show_components(bundle: Bundle, screen: Screen) -> None:
    screen.say("")
    rows = [
        (x.name, ", ".join(x.roles), ", ".join([*x.templates, *(f"delete {y.ref}" for y in x.delete)]))
        for x in bundle.definition.components
    ]
    screen.table(("component", "clusters", "what"), rows)
    for namespace, names in bundle.definition.remove.items():
        if names:
            screen.say(f"remove from {namespace}: {', '.join(names)}")


def _show_base(bundle: Bundle, screen: Screen) -> None:
    if base := bundle.definition.base:
        size = size_text(sum(x.size for x in base.blobs))
        screen.say("")
        screen.say(f"relies on {len(base.blobs)} blobs ({size}) of {base}: load that bundle first")


def _show_others(others: Sequence[OtherPackage], screen: Screen) -> None:
    if others:
        screen.say("")
        screen.say("beside it in the outer package, left alone:")
        screen.table(("package", "size", "sha256"), [(x.name, size_text(x.size), x.sha256) for x in others])
