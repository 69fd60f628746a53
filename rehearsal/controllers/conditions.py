"""The conditions of a workload's status."""

from __future__ import annotations

from typing import Any

from rehearsal.api.objects import now

Json = dict[str, Any]


class Conditions:
    """A list of conditions; times change only when something else does."""

    def __init__(self, listed: list[Json]) -> None:
        self.listed = [dict(x) for x in listed]

    def find(self, kind: str) -> Json | None:
        """Return a condition by its type."""
        return next((x for x in self.listed if x["type"] == kind), None)

    def set(self, kind: str, holds: bool, reason: str, message: str, *, at: str = "") -> None:
        """Say that a condition holds, or not; ``at`` says that it was so again at a time."""
        old, status = self.find(kind), str(holds)
        if old and (old["status"], old["reason"], old["message"]) == (status, reason, message) and not at:
            return
        moment = at or now()
        since = old["lastTransitionTime"] if old and old["status"] == status else moment
        new = {
            "type": kind, "status": status, "lastUpdateTime": moment, "lastTransitionTime": since,
            "reason": reason, "message": message,
        }  # fmt: skip
        if old:
            self.listed[self.listed.index(old)] = new
        else:
            self.listed.append(new)

    def drop(self, kind: str) -> None:
        """Say nothing about a condition any more."""
        self.listed = [x for x in self.listed if x["type"] != kind]
