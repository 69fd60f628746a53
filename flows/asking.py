"""A verb is run: its workplace is opened and closed again, and every error becomes a line and an exit status."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from compass.errors import EXIT_FAILED, CompassError, exit_status
from compass.job import AtWindowEnd
from compass.steps.workplace import Workplace
from flows.options import ANY_TIME, NO_LEAVE, Leave, Opening, Options
from flows.screen import Screen

HERE = Path()
TOLD_EVERY_SECONDS = 15.0


class _Waiting(logging.Handler):
    """Says now and then that a server is away and is asked again."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.WARNING)
        self._screen, self._due = screen, 0.0

    def emit(self, record: logging.LogRecord) -> None:
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + TOLD_EVERY_SECONDS
            self._screen.tell(record.getMessage())


def answer(screen: Screen, run: Callable[[Screen], int]) -> int:
    """Run a verb that needs no workplace; what it could not do is said, and becomes the exit status."""
    try:
        return run(screen)
    except CompassError as error:
        screen.fail(str(error))
        return exit_status(error)


def ask(
    bundle: Path | None, options: Options, run: Callable[[Workplace, Screen], int], leave: Leave = NO_LEAVE,
    opening: Opening = ANY_TIME, at_window_end: AtWindowEnd = "finish-cluster",
) -> int:  # fmt: skip
    """Run a verb at a workplace; what it could not do is said, and becomes the exit status."""
    screen = options.screen()
    if bundle is None and _stands_in_bundle():
        bundle = HERE  # which leads to the site, as with the old scripts
    if options.verbose:
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    else:
        patience = logging.getLogger("compass.patience")
        patience.handlers, patience.propagate = [_Waiting(screen)], False
    try:
        job = options.job(bundle, leave, opening, at_window_end)
        with screen.progress() as make, Workplace(job, os.environ, progress=make("")) as place:
            status = run(place, screen)
    except CompassError as error:
        screen.fail(str(error))
        return exit_status(error)
    except BrokenPipeError:  # whoever read our output has gone: main knows what that means
        raise
    except OSError as error:
        screen.fail(f"{error.filename or 'operating system'}: {error.strerror or error}")
        return EXIT_FAILED
    return status


def _stands_in_bundle() -> bool:
    return (HERE / "bundle.yaml").is_file() or ((HERE / "templates").is_dir() and (HERE / "images").is_dir())
