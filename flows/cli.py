"""The front door: ``compass-upgrade VERB``.

A verb imports what it needs when it is asked for.  Prefect is imported only by verbs that change a cluster, and only
once the plan was agreed to: importing it takes a second and starting its local server five.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Literal, NoReturn

from cyclopts import App, CycloptsError, Parameter

from compass import __version__
from compass.errors import EXIT_INVALID
from compass.job import AtWindowEnd
from compass.steps.workplace import Workplace
from flows.asking import HERE, answer, ask
from flows.options import ANY_TIME, HOW, LEAVE, NO_LEAVE, SHOW, WHEN, WHERE, Leave, Opening, Options
from flows.packing import ALONE, PACK_DEFAULTS, Alone, Packing
from flows.screen import Output, Screen

app = App(
    name="compass-upgrade",
    version=__version__,
    help="Upgrade the components of Kubernetes clusters that have no internet, from one bundle.",
    help_epilogue="Exit status: 0 done or nothing to change, 1 failed, 2 wrong input, 3 differences, 4 refused, "
    "5 failed and rolled back, 6 failed and not as before.",
)
Bundle = Annotated[Path, Parameter(help="Bundle: a directory or an archive; default: where one stands.")]
Yes = Annotated[bool, Parameter(help="Do not ask.", group=LEAVE, negative="")]
DryRun = Annotated[
    bool,
    Parameter(help="Show the plan and stop; exit status 3 when there is something to do.", group=LEAVE, negative=""),
]
InventoryFile = Annotated[Path, Parameter(help="The inventory; default: inventory.yaml where one stands.", group=WHERE)]
Shown = Annotated[Output, Parameter(help="How results are printed on standard output.", group=SHOW)]
INVENTORY = Path("inventory.yaml")
DEFAULTS = Options()


@app.command
def inspect(bundle: Bundle = HERE, /, *, options: Options = DEFAULTS) -> int:
    """Show what is inside a bundle, its checksums verified; with --inventory, each cluster and whether it answers."""
    from flows.verbs import inspect as inspects
    from flows.verbs import inspect_inventory as inventories

    if options.inventory and not options.cluster:
        path = options.inventory
        return answer(options.screen(), lambda screen: inventories.inspect_inventory(path, screen))
    return ask(bundle, options, inspects.inspect)


@app.command
def pack(
    bundle: Bundle = HERE,
    /,
    *,
    into: Annotated[Path, Parameter(name=["-o", "--into"], help="File to write, or the folder to write it to.")],
    how: Packing = PACK_DEFAULTS,
    alone: Alone = ALONE,
) -> int:
    """Make one packed bundle of a directory: images compressed once, checksums, the same bytes every time."""
    from flows.verbs import pack as packs

    return ask(bundle, alone.options, lambda place, screen: packs.pack(place, screen, into, how))


@app.command
def verify(bundle: Bundle = HERE, /, *, alone: Alone = ALONE) -> int:
    """Check every byte of a bundle: checksums, blobs, images, and with --key the signature; no cluster is asked."""
    from flows.verbs import pack as packs

    return ask(bundle, alone.options, packs.verify)


@app.command
def plan(
    bundle: Bundle = HERE,
    /,
    *,
    save: Annotated[Path | None, Parameter(help="Write the plan to this file, for upgrade --plan.", group=HOW)] = None,
    leave: Leave = NO_LEAVE,
    options: Options = DEFAULTS,
) -> int:
    """Show every change that an upgrade would make; exit status 3 when there are any."""
    from flows.verbs import plan as plans

    return ask(bundle, options, lambda place, screen: plans.plan(place, screen, save), leave)


@app.command
def check(
    bundle: Bundle = HERE,
    /,
    *,
    drift: Annotated[
        bool, Parameter(help="Compare what the last upgrade left, field by field.", group=HOW, negative="")
    ] = False,
    options: Options = DEFAULTS,
) -> int:
    """Prove that what the pods run is what the bundle holds; exit status 3 when something differs."""
    from flows.verbs import check as checks
    from flows.verbs import drift as drifts

    return ask(bundle, options, drifts.drift if drift else checks.check)


@app.command
def load(bundle: Bundle = HERE, /, *, options: Options = DEFAULTS) -> int:
    """Bring the bundle's images to the site registry, ahead of a window; no cluster is changed."""
    from flows.verbs import load as loads

    return ask(bundle, options, loads.load)


@app.command
def backup(bundle: Bundle = HERE, /, *, options: Options = DEFAULTS) -> int:
    """Back up all Releases, and what the bundle would touch."""
    from flows.verbs import backup as backups_

    return ask(bundle, options, backups_.backup)


@app.command
def upgrade(
    bundle: Bundle = HERE,
    /,
    *,
    yes: Yes = False,
    dry_run: DryRun = False,
    saved: Annotated[
        Path | None, Parameter(name="--plan", help="Do what this saved plan says, or nothing.", group=HOW)
    ] = None,
    opening: Opening = ANY_TIME,
    at_window_end: Annotated[
        AtWindowEnd,
        Parameter(
            help="When the window ends all the same: end the cluster, end the step and go on in the next window, "
            "or roll back.",
            group=WHEN,
        ),
    ] = "finish-cluster",
    leave: Leave = NO_LEAVE,
    options: Options = DEFAULTS,
) -> int:
    """Back up, load, apply, wait, check and remove, on every cluster; a failed cluster is rolled back."""
    from flows.verbs import plan as plans
    from flows.verbs import upgrade as upgrades

    def run(place: Workplace, screen: Screen) -> int:
        if dry_run:
            return plans.plan(place, screen, agreed=saved)
        return upgrades.upgrade(place, screen, opening, yes=yes, saved=saved)

    return ask(bundle, options, run, leave, opening, at_window_end)


@app.command
def remove(
    bundle: Bundle = HERE,
    /,
    *,
    yes: Yes = False,
    dry_run: DryRun = False,
    opening: Opening = ANY_TIME,
    options: Options = DEFAULTS,
) -> int:
    """Remove the Releases that the bundle names, after a verified backup."""
    from flows.verbs import remove as removals

    return ask(
        bundle, options, lambda place, screen: removals.remove(place, screen, opening, yes=yes, dry_run=dry_run),
        opening=opening,
    )  # fmt: skip


@app.command
def restore(
    backup: Annotated[str, Parameter(help="Folder or address of the backup; default: the cluster's newest.")] = "",
    /,
    *,
    everything: Annotated[bool, Parameter(help="Put back all that it holds.", group=HOW, negative="")] = False,
    component: Annotated[tuple[str, ...], Parameter(help="Only what belongs to it.", group=HOW, negative="")] = (),
    object_: Annotated[
        tuple[str, ...], Parameter(name="--object", help="Only this Kind/namespace/name.", group=HOW, negative="")
    ] = (),
    yes: Yes = False,
    dry_run: DryRun = False,
    options: Options = DEFAULTS,
) -> int:
    """Bring a cluster back to a backup: by default what the upgrade that it was made for has changed."""
    from compass.steps.restore import Selection
    from flows.verbs import restore as restores

    chosen = Selection(everything=everything, components=component, objects=object_)
    return ask(None, options, lambda place, screen: restores.restore(
        place, screen, backup, chosen, yes=yes, dry_run=dry_run
    ))  # fmt: skip


@app.command
def backups(*, options: Options = DEFAULTS) -> int:
    """List the backups in the state directory."""
    from flows.verbs import backup as backups_

    return ask(None, options, backups_.backups)


@app.command
def status(*, options: Options = DEFAULTS) -> int:
    """Show which version each cluster has, how its last upgrade ended, and who is at work on it."""
    from flows.verbs import status as statuses

    return ask(None, options, statuses.status)


@app.command
def history(*, options: Options = DEFAULTS) -> int:
    """Show the upgrades that each cluster remembers."""
    from flows.verbs import status as statuses

    return ask(None, options, statuses.history)


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

    words = tuple(f"--set={x}" for x in set_)
    asked = Rehearsal(bundle, clusters, from_backup, break_, keep, words=words, leave=leave.words)
    return answer(Screen(), lambda screen: run(asked, screen))


@app.command
def windows(
    *,
    inventory: InventoryFile = INVENTORY,
    weeks: Annotated[int, Parameter(help="How far to look ahead.", group=HOW)] = 4,
    svg: Annotated[Path | None, Parameter(help="Draw the coming weeks into this file.", group=SHOW)] = None,
    output: Shown = "text",
) -> int:
    """Show when each cluster of an inventory may be changed next, and what is planned then."""
    from flows.verbs import windows as openings

    return answer(Screen(output), lambda screen: openings.windows(inventory, screen, weeks=weeks, svg=svg))


@app.command
def deploy(
    *,
    inventory: InventoryFile = INVENTORY,
    check_: Annotated[
        bool,
        Parameter(
            name=["--check", "--dry-run"],
            help="Say what differs, change nothing; exit status 3 when something does.",
            group=LEAVE,
            negative="",
        ),
    ] = False,
    elsewhere: Annotated[
        bool, Parameter(help="The kubeconfigs are on the workers' machines only.", group=WHERE, negative="")
    ] = False,
    output: Shown = "text",
) -> int:
    """Bring Prefect (PREFECT_API_URL) to what an inventory says: a deployment per cluster and verb, with schedules."""
    from flows.verbs import deploy as deploys

    return answer(Screen(output), lambda screen: deploys.deploy(inventory, screen, check=check_, elsewhere=elsewhere))


def _stop(number: int, _frame: object) -> NoReturn:
    """End as on Ctrl-C, so that everything opened is closed and half-written files go."""
    sys.exit(128 + number)


def main() -> None:
    """Run the command line and exit with its status."""
    gc.freeze()  # what was imported stays: it need not be looked through again and again
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without Chinese shows what it can
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
