"""Verbs ``status`` and ``history``: what clusters say of themselves; no bundle is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from compass.clock import iso
from compass.cluster.lease import LockState, read_lock
from compass.cluster.record import Record, read_records
from compass.errors import EXIT_DONE, CompassError, shared_status
from compass.steps.clusters import ask_each
from compass.steps.workplace import Target, Workplace
from flows.screen import Screen

Answer = tuple[list[Record], LockState | None]
Answers = Sequence[tuple[Target, Answer | CompassError]]


def status(place: Workplace, screen: Screen) -> int:
    """Show each cluster's version, how its last upgrade ended, and who is upgrading it now."""

    def text(answers: Answers) -> None:
        rows = []
        for target, answer in answers:
            if isinstance(answer, CompassError):
                continue
            records, lock = answer
            last = records[0] if records else None
            has = next((x for x in records if x.state in ("done", "restored")), None)
            rows.append(
                (
                    target.name, target.role, f"{has.bundle} {has.version}" if has else "",
                    _last(last), last.finished or last.started if last else "", last.by if last else "",
                    _holder(lock) if lock else "",
                )
            )  # fmt: skip
        screen.table(("cluster", "role", "has", "last upgrade", "when", "by", "locked by"), rows)
        for target, answer in answers:
            if not isinstance(answer, CompassError) and answer[0] and answer[0][0].problem:
                screen.say(f"{target.name}: {answer[0][0].problem}", "red")

    return _ask(place, screen, text)


def _holder(lock: LockState) -> str:
    return f"{lock}, but that has ended" if lock.has_ended else str(lock)


def _last(record: Record | None) -> str:
    if record is None:
        return "never by this tool"
    if record.state == "running":
        return f"running, or cut off, at {record.step}"
    return f"failed at {record.step}" if record.state == "failed" else record.state


def history(place: Workplace, screen: Screen) -> int:
    """Show the upgrades that each cluster remembers, newest first."""

    def text(answers: Answers) -> None:
        rows = []
        for target, answer in answers:
            for record in answer[0] if not isinstance(answer, CompassError) else []:
                changes = ", ".join(f"{n} {action}" for action, n in record.changes.items())
                rows.append(
                    (
                        target.name, record.started, f"{record.bundle} {record.version}", _last(record),
                        f"{sum(record.seconds.values()):.0f} s" if record.seconds else "", changes, record.by,
                    )
                )  # fmt: skip
        screen.table(("cluster", "begun", "bundle", "state", "took", "changes", "by"), rows)

    return _ask(place, screen, text)


def _ask(place: Workplace, screen: Screen, text: Callable[[Answers], None]) -> int:
    def one(target: Target) -> Answer:
        client = place.client(target)
        return read_records(client), read_lock(client)

    answers = ask_each(place, one)

    def show() -> None:
        text(answers)
        for target, answer in answers:
            if isinstance(answer, CompassError):
                screen.say(f"cluster {target.name} cannot be asked: {answer}", "red")

    screen.result([_json(target, x) for target, x in answers], show)
    return shared_status([x for _, x in answers if isinstance(x, CompassError)]) or EXIT_DONE


def _json(target: Target, answer: Answer | CompassError) -> dict[str, Any]:
    if isinstance(answer, CompassError):
        return {"cluster": target.name, "role": target.role, "problem": str(answer)}
    records, lock = answer
    return {
        "cluster": target.name, "role": target.role, "lock": _lock_json(lock) if lock else None,
        "records": [x.model_dump(mode="json", exclude={"applied"}) for x in records],
    }  # fmt: skip


def _lock_json(lock: LockState) -> dict[str, Any]:
    return {
        "by": lock.holder.by if lock.holder else lock.identity,
        "run": lock.holder.run if lock.holder else "",
        "doing": lock.holder.doing if lock.holder else "",
        "since": iso(lock.since) if lock.since else "",
        "renewed": iso(lock.renewed) if lock.renewed else "",
        "hasEnded": lock.has_ended,
    }
