"""Verb ``restore``: bring a cluster back to a backup."""

from __future__ import annotations

import shutil
from pathlib import Path

from compass.change.plan import Plan
from compass.cluster.backup import INDEX, BackupIndex, cluster_uid, verify_backup
from compass.errors import EXIT_DIFFERENT, EXIT_DONE, CompassError, InvalidInput, exit_status
from compass.remote import check_address, copy_in, is_remote
from compass.steps.backup import BEFORE_RESTORE, list_backups
from compass.steps.restore import Selection, make_restore_plan
from compass.steps.workplace import Target, Workplace
from flows import engine
from flows.screen import Screen
from flows.verbs.consent import confirm
from flows.verbs.plan import show_plans


def restore(place: Workplace, screen: Screen, backup: str, selection: Selection, *, yes: bool, dry_run: bool) -> int:
    """Show what would be put back, ask, and run ``restore-cluster``; without a backup, the newest is meant.

    A backup in a store is fetched into the state directory first.
    """
    if len(place.targets) != 1:
        names = ", ".join(x.name for x in place.targets)
        raise InvalidInput("restore", found=f"{len(place.targets)} clusters: {names}", expected="one",
                           do="pass --cluster")  # fmt: skip
    target = place.targets[0]
    chosen = _fetched(place, target, backup) if backup else _newest(place, target)
    planned = make_restore_plan(place, target, chosen, selection)
    if dry_run or not planned.acting or screen.output == "text":
        screen.tell(f"backup {chosen}")
        show_plans(screen, [(target, planned)])
    if dry_run or not planned.acting:
        return EXIT_DIFFERENT if planned.acting else EXIT_DONE
    confirm(screen, f"restore {len(planned.acting)} objects of cluster {target.name}", yes=yes)
    return _run(place, screen, target, chosen, selection, planned)


def _fetched(place: Workplace, target: Target, backup: str) -> Path:
    if not is_remote(backup):
        return Path(backup).expanduser().absolute()
    check_address(backup)
    folder = place.state.backups(target.name) / backup.rstrip("/").rpartition("/")[2]
    try:
        verify_backup(folder)
    except CompassError:  # absent, or damaged here while the copy may be whole
        again = folder.with_name(f"{folder.name}-fetched") if folder.exists() else folder
        shutil.rmtree(again, ignore_errors=True)
        return copy_in(backup, again, INDEX)
    return folder


def _newest(place: Workplace, target: Target) -> Path:
    above = place.state.backups(target.name)
    there = list_backups(above) if above.is_dir() else []
    uid = cluster_uid(place.client(target))  # another site may have a cluster of this name
    whole = [path for path, index in there if isinstance(index, BackupIndex)
             and index.bundle != BEFORE_RESTORE and index.cluster_uid == uid]  # fmt: skip
    if not whole:
        do = "name its folder, or pass --state-dir"
        raise InvalidInput("restore cluster", target.name, found=f"no backup below {above}", do=do)
    return whole[0]


def _run(
    place: Workplace, screen: Screen, target: Target, folder: Path, selection: Selection, planned: Plan
) -> int:  # fmt: skip
    engine.set_up()
    screen.tell("starting Prefect (some seconds)")
    from flows.restore import restore_cluster
    from tasks.watching import watch

    job = place.job
    where = job.where.model_copy(update={"site": str(place.site_files.folder)})  # the flow has no bundle to find it by
    with screen.progress() as make, engine.on_this_machine(), engine.stops_on_signal(screen.tell) as stopped:
        watch(make)
        try:
            report = restore_cluster(
                str(folder), target.name, where, job.choices, selection, plan_digest=str(planned.digest)
            )
        except Exception as error:  # noqa: BLE001  (whatever it was, it ends in one line)
            known = engine.as_known(error, f"cluster {target.name}")
            for line in known.report.not_as_before if known.report else ():
                screen.say(f"not as in the backup: {line}", "red")
            screen.fail(str(known))
            return stopped() or exit_status(known)
        finally:
            watch(None)

    def text() -> None:
        for step in report.steps:
            for line in step.lines if step.name == "restore" else ():
                screen.say(line)
        screen.say(f"what was there before is in {report.backup}")

    screen.result(report.model_dump(mode="json"), text)
    return EXIT_DONE
