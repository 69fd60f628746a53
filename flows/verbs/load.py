"""The verb that loads images ahead of a window: it changes no cluster and runs the core directly, without Prefect."""

from __future__ import annotations

from compass.errors import EXIT_DONE
from compass.markdown import size_text
from compass.steps.images import LoadResult, load_images
from compass.steps.preflight import ready_to_read
from compass.steps.prepare import prepare
from compass.steps.workplace import Workplace
from flows.screen import Screen


def load(place: Workplace, screen: Screen) -> int:
    """Bring the bundle's images to the site registry; what is there already is not sent."""
    host = place.registry_place.host
    prepared = prepare(place)
    ready_to_read(place)
    result = load_images(place, prepared.archives, try_push=True)
    value = {
        "bundle": prepared.model_dump(mode="json", include={"name", "version", "digest"}),
        "registry": host,
        "images": [x.model_dump(mode="json") for x in result.images],
        "bytes_sent": result.bytes_sent,
        "bytes_skipped": result.bytes_skipped,
    }
    screen.result(value, lambda: _show(screen, result, host))
    return EXIT_DONE


def _show(screen: Screen, result: LoadResult, host: str) -> None:
    rows = [(x.target, x.digest, size_text(x.bytes_sent), size_text(x.bytes_skipped)) for x in result.images]
    if rows:
        screen.table(("image", "digest", "sent", "there already"), rows)
    line = f"{len(rows)} images in {host}, {size_text(result.bytes_sent)} sent"
    screen.say(line if rows else "the bundle has no images")
