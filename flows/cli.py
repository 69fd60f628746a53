"""The front door: ``compass-upgrade VERB``.

Prefect is imported only by verbs that change a cluster, and only once the plan was agreed to: importing it takes a
second and starting its local server five.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

from cyclopts import App, CycloptsError, Parameter

from compass import __version__
from compass.errors import EXIT_INVALID, CompassError, exit_status
from compass.steps.workplace import Workplace
from flows import changes, questions
from flows.options import Options
from flows.screen import Screen

app = App(
    name="compass-upgrade",
    version=__version__,
    help="Upgrade the components of Kubernetes clusters that have no internet, from one bundle.",
    help_epilogue="Exit status: 0 done or nothing to change, 1 failed, 2 wrong input, 3 differences, 4 refused.",
)
Bundle = Annotated[Path, Parameter(help="Bundle: a directory or an archive; default: where one stands.")]
HERE = Path()
DEFAULTS = Options()


@app.command
def inspect(bundle: Bundle = HERE, /, *, options: Options = DEFAULTS) -> int:
    """Show what is inside a bundle; every checksum is verified."""
    return _ask(bundle, options, questions.inspect)


@app.command
def plan(
    bundle: Bundle = HERE,
    /,
    *,
    allow_data_loss: Annotated[bool, Parameter(negative="")] = False,
    force_conflicts: Annotated[bool, Parameter(negative="")] = False,
    keep_obsolete: Annotated[bool, Parameter(negative="")] = False,
    options: Options = DEFAULTS,
) -> int:
    """Show every change that an upgrade would make; exit status 3 when there are any.

    Args:
        bundle: the bundle.
        allow_data_loss: plan deletions of claims, volumes, namespaces and definitions that the bundle names.
        force_conflicts: take over fields that other tools own.
        keep_obsolete: leave out the removal of Releases.
        options: where, how, and what is shown.
    """
    return _ask(
        bundle, options, questions.plan,
        allow_data_loss=allow_data_loss, force_conflicts=force_conflicts, keep_obsolete=keep_obsolete,
    )  # fmt: skip


@app.command
def check(bundle: Bundle = HERE, /, *, options: Options = DEFAULTS) -> int:
    """Prove that what the pods run is what the bundle holds; exit status 3 when something differs."""
    return _ask(bundle, options, questions.check)


@app.command
def backup(bundle: Bundle = HERE, /, *, options: Options = DEFAULTS) -> int:
    """Back up all Releases, and what the bundle would touch."""
    return _ask(bundle, options, questions.backup)


@app.command
def upgrade(
    bundle: Bundle = HERE,
    /,
    *,
    yes: Annotated[bool, Parameter(negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    allow_data_loss: Annotated[bool, Parameter(negative="")] = False,
    force_conflicts: Annotated[bool, Parameter(negative="")] = False,
    keep_obsolete: Annotated[bool, Parameter(negative="")] = False,
    options: Options = DEFAULTS,
) -> int:
    """Back up, load, apply, wait, check and remove, on every cluster.

    Args:
        bundle: the bundle.
        yes: do not ask.
        dry_run: show the plan and stop; exit status 3 when there is something to change.
        allow_data_loss: delete claims, volumes, namespaces and definitions that the bundle names.
        force_conflicts: take over fields that other tools own.
        keep_obsolete: leave Releases that the new version no longer has.
        options: where, how, and what is shown.
    """
    run = questions.plan if dry_run else lambda place, screen: changes.upgrade(place, screen, yes=yes)
    return _ask(
        bundle, options, run,
        allow_data_loss=allow_data_loss, force_conflicts=force_conflicts, keep_obsolete=keep_obsolete,
    )  # fmt: skip


@app.command
def remove(
    bundle: Bundle = HERE,
    /,
    *,
    yes: Annotated[bool, Parameter(negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    options: Options = DEFAULTS,
) -> int:
    """Remove the Releases that the bundle names, after a verified backup.

    Args:
        bundle: the bundle.
        yes: do not ask.
        dry_run: show what would be removed and stop; exit status 3 when there is something.
        options: where, how, and what is shown.
    """
    return _ask(bundle, options, lambda place, screen: changes.remove(place, screen, yes=yes, dry_run=dry_run))


def _ask(bundle: Path, options: Options, run: Callable[[Workplace, Screen], int], **flags: bool) -> int:
    screen = options.screen()
    if options.verbose:
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    try:
        job = options.job(bundle, **flags)
        with screen.progress() as make, Workplace(job, os.environ, progress=make("")) as place:
            status = run(place, screen)
    except CompassError as error:
        screen.fail(str(error))
        return exit_status(error)
    return status


def _stop(number: int, _frame: object) -> NoReturn:
    """End as on Ctrl-C, so that everything opened is closed and half-written files go."""
    sys.exit(128 + number)


def main() -> None:
    """Run the command line and exit with its status."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        status = app(exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        Screen().fail(str(error))
        status = EXIT_INVALID
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:  # the reader of our output went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    sys.exit(status)
