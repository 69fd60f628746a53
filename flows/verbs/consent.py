"""Leave of the person at the terminal, and what stops a run before it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from compass.change.plan import Plan
from compass.errors import CompassError, Refused
from compass.steps.clusters import shared_error
from compass.steps.workplace import Target
from flows.screen import Screen


def confirm(screen: Screen, what: str, *, yes: bool) -> None:
    """Ask the person at the terminal.

    Raises:
        Refused: the answer is no, or there is nobody to ask.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Refused(what, found="no terminal to ask at", expected="leave to go on", do="pass --yes")
    if not screen.ask(what):
        raise Refused(what, found="the answer was no")


def stop_on_shared(answers: Sequence[tuple[Target, Plan | CompassError]]) -> None:
    """Check that a run may begin at all: what is wrong for every cluster stops it, one cluster's trouble does not.

    Raises:
        CompassError: the error that they share.
    """
    error = shared_error(answers)
    if error:
        raise error
