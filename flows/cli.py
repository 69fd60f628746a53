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
from typing import Annotated, Literal, NoReturn

from cyclopts import App, CycloptsError, Parameter

from compass import __version__
from compass.errors import EXIT_FAILED, EXIT_INVALID, CompassError, exit_status
from compass.steps.workplace import Workplace
from flows import changes, questions
from flows.options import LEAVE, Leave, Options
from flows.screen import Screen

app = App(
    name="compass-upgrade",
    version=__version__,
    help="Upgrade the components of Kubernetes clusters that have no internet, from one bundle.",
    help_epilogue="Exit status: 0 done or nothing to change, 1 failed, 2 wrong input, 3 differences, 4 refused.",
)
Bundle = Annotated[Path, Parameter(help="Bundle: a directory or an archive; default: where one stands.")]
Yes = Annotated[bool, Parameter(help="Do not ask.", group=LEAVE, negative="")]
DryRun = Annotated[
    bool,
    Parameter(help="Show the plan and stop; exit status 3 when there is something to do.", group=LEAVE, negative=""),
]
HERE, DEFAULTS, NO_LEAVE = Path(), Options(), Leave()


@app.command
def inspect(bundle: Bundle = HERE, /, *, options: Options = DEFAULTS) -> int:
    """Show what is inside a bundle; its checksums, where it has any, are verified."""
    return _ask(bundle, options, questions.inspect)


@app.command
def plan(bundle: Bundle = HERE, /, *, leave: Leave = NO_LEAVE, options: Options = DEFAULTS) -> int:
    """Show every change that an upgrade would make; exit status 3 when there are any."""
    return _ask(bundle, options, questions.plan, leave)


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
    yes: Yes = False,
    dry_run: DryRun = False,
    leave: Leave = NO_LEAVE,
    options: Options = DEFAULTS,
) -> int:
    """Back up, load, apply, wait, check and remove, on every cluster."""
    run = questions.plan if dry_run else lambda place, screen: changes.upgrade(place, screen, yes=yes)
    return _ask(bundle, options, run, leave)


@app.command
def remove(bundle: Bundle = HERE, /, *, yes: Yes = False, dry_run: DryRun = False, options: Options = DEFAULTS) -> int:
    """Remove the Releases that the bundle names, after a verified backup."""
    return _ask(bundle, options, lambda place, screen: changes.remove(place, screen, yes=yes, dry_run=dry_run))


@app.command
def rehearse(
    bundle: Annotated[Path | None, Parameter(help="Bundle to rehearse; default: an example.")] = None,
    /,
    *,
    clusters: Annotated[int, Parameter(help="How many user clusters the simulated site has.")] = 2,
    from_backup: Annotated[Path | None, Parameter(help="Backup whose objects fill the control cluster.")] = None,
    break_: Annotated[
        Literal["image", "rollout", "registry", "apiserver", "kill"] | None,
        Parameter(name="--break", help="What goes wrong on the way."),
    ] = None,
    keep: Annotated[bool, Parameter(help="Leave the site up, to look around with kubectl.", negative="")] = False,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", help="NAME=VALUE for a template.", negative="")] = (),
    leave: Leave = NO_LEAVE,
) -> int:
    """Bring up a simulated site on this machine and upgrade it for real; nothing else is touched."""
    from flows.rehearse import Rehearsal
    from flows.rehearse import rehearse as run

    screen = Screen()
    words = tuple(f"--set={x}" for x in set_)
    asked = Rehearsal(bundle, clusters, from_backup, break_, keep, words=words, leave=leave.words)
    try:
        return run(asked, screen)
    except CompassError as error:
        screen.fail(str(error))
        return exit_status(error)


def _ask(bundle: Path, options: Options, run: Callable[[Workplace, Screen], int], leave: Leave = NO_LEAVE) -> int:
    screen = options.screen()
    if options.verbose:
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    try:
        job = options.job(bundle, leave)
        with screen.progress() as make, Workplace(job, os.environ, progress=make("")) as place:
            status = run(place, screen)
    except CompassError as error:
        screen.fail(str(error))
        return exit_status(error)
    except OSError as error:
        screen.fail(f"{error.filename or 'operating system'}: {error.strerror or error}")
        return EXIT_FAILED
    return status


def _stop(number: int, _frame: object) -> NoReturn:
    """End as on Ctrl-C, so that everything opened is closed and half-written files go."""
    sys.exit(128 + number)


def main() -> None:
    """Run the command line and exit with its status."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
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


if __name__ == "__main__":
    main()
