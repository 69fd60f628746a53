"""Verbs ``backup`` and ``backups``: make one, and list them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compass.cluster.backup import BackupIndex
from compass.errors import EXIT_DONE, CompassError, shared_status
from compass.steps.backup import BackupResult, back_up, list_backups, objects_of
from compass.steps.clusters import ask_each
from compass.steps.workplace import Target, Workplace
from flows.screen import Screen


def backup(place: Workplace, screen: Screen) -> int:
    """Back up every cluster: all Releases, and what the bundle would touch."""
    answers = ask_each(place, lambda target: back_up(place, target, None, objects_of(place, target)))
    value = {"clusters": [_backup_json(target, x) for target, x in answers]}

    def text() -> None:
        for target, answer in answers:
            if isinstance(answer, BackupResult):
                screen.say(f"cluster {target.name}: {answer.releases} Releases and {answer.objects} other objects")
                screen.say(f"  {answer.folder}")
                for line in (*answer.warnings, *(f"removed the older {x}" for x in answer.dropped)):
                    screen.tell(f"  {line}", "yellow")
                if answer.copy_at:
                    screen.say(f"  copied to {answer.copy_at}")
            else:
                screen.say(f"cluster {target.name} is not backed up: {answer}", "red")

    screen.result(value, text)
    return shared_status([x for _, x in answers if isinstance(x, CompassError)])


def _backup_json(target: Target, answer: BackupResult | CompassError) -> dict[str, Any]:
    if isinstance(answer, CompassError):
        return {"cluster": target.name, "problem": str(answer)}
    return answer.model_dump(mode="json")


def backups(place: Workplace, screen: Screen) -> int:
    """Show the backups in the state directory, newest first; no cluster is asked."""
    above = place.state.root / "backups"
    folders = sorted(x for x in above.iterdir() if x.is_dir()) if above.is_dir() else []
    names = place.job.where.clusters
    found = [(x.name, *y) for x in folders if not names or x.name in names for y in list_backups(x)]
    value = [_listed(*x) for x in found]

    def text() -> None:
        rows = []
        for cluster, path, index in found:
            if isinstance(index, CompassError):
                rows.append((cluster, path.name, "", "", str(index)))
                continue
            counts = f"{index.releases} Releases, {len(index.files) - index.releases} others"
            rows.append((cluster, path.name, index.taken, counts, f"{len(index.touched)} changed by its upgrade"))
        screen.table(("cluster", "backup", "taken", "holds", ""), rows)
        screen.say(f"below {above}")

    screen.result(value, text)
    return EXIT_DONE


def _listed(cluster: str, path: Path, index: BackupIndex | CompassError) -> dict[str, Any]:
    head = {"cluster": cluster, "folder": str(path)}
    if isinstance(index, CompassError):
        return {**head, "problem": str(index)}
    return {**head, **index.model_dump(mode="json", exclude={"files", "absent"}), "objects": len(index.files)}
