"""The Lease ``kube-system/compass-upgrade``: who holds the lock of a cluster, as the cluster has it.

Who holds it stands in ``spec.holderIdentity`` (``user@host_token``; empty: nobody) and, as JSON of ``Holder``, in the
annotation ``compass.upgrade/holder``.  The other fields of ``spec`` are as every reader of Leases knows them:
``leaseDurationSeconds``, ``acquireTime``, ``renewTime`` (both by the holder's clock) and ``leaseTransitions``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from compass.clock import iso
from compass.cluster.client import ClusterClient
from compass.cluster.transport import FIELD_MANAGER
from compass.documents import Document
from compass.names import ObjectRef
from compass.processes import Process, has_ended, this_process

Json = dict[str, Any]
REF = ObjectRef("coordination.k8s.io/v1", "Lease", "kube-system", "compass-upgrade")
HOLDER_KEY = "compass.upgrade/holder"
DURATION_SECONDS = 60.0
LONGEST_SECONDS = 3600.0
_MAX_INT32 = (1 << 31) - 1


class Holder(Document):
    """Who holds a lock, for all to read: nothing in it is secret.

    ``by`` is a user at a host, ``run`` what the run is called, ``doing`` its verb and bundle; ``token`` is given by
    the lock and differs each time.
    """

    by: str
    run: str
    doing: str
    process: Process
    token: str = ""

    @classmethod
    def here(cls, by: str, run: str, doing: str) -> Holder:
        """Return this process as a holder."""
        return cls(by=by, run=run, doing=doing, process=this_process())

    @property
    def identity(self) -> str:
        """What the Lease has as ``holderIdentity``."""
        return f"{self.by}_{self.token}"


@dataclass(frozen=True)
class LockState:
    """A lock that somebody has; ``holder`` is ``None`` when it was not taken by this tool.

    ``since`` and ``renewed`` are by the holder's clock, ``written`` is when the API server saw it renewed, by its own.
    """

    identity: str
    holder: Holder | None
    since: datetime | None
    renewed: datetime | None
    written: datetime | None
    duration_seconds: float

    @property
    def has_ended(self) -> bool:
        """Whether the holder is known to have ended, which can be seen on its own machine only."""
        return self.holder is not None and has_ended(self.holder.process)

    def __str__(self) -> str:
        words = [self.holder.by if self.holder else self.identity]
        words += [f"since {iso(self.since)}"] if self.since else []
        words += [f"({self.holder.doing}, in run {self.holder.run!r})"] if self.holder else []
        return " ".join(words) + (f", renewed {iso(self.renewed)}" if self.renewed else "")


def read_lock(client: ClusterClient) -> LockState | None:
    """Return who has the lock of a cluster, ``None`` when it is free; whether it has expired is not looked at."""
    item = client.get(REF)
    return lock_state(item) if item else None


def lock_state(item: Json) -> LockState | None:
    """Return what a Lease says, ``None`` when nobody holds it.

    What cannot be read is taken for absent, an absent duration for the usual one, and a longer one for the longest.
    """
    spec = item.get("spec") or {}
    identity = str(spec.get("holderIdentity") or "")
    if not identity:
        return None
    return LockState(
        identity, _holder(item, identity), _time(spec.get("acquireTime")), _time(spec.get("renewTime")), written(item),
        _duration(spec.get("leaseDurationSeconds")),
    )  # fmt: skip


def _holder(item: Json, identity: str) -> Holder | None:
    """Return the holder of the annotation, unless it was left there by another one."""
    try:
        found = Holder.model_validate_json((item["metadata"].get("annotations") or {}).get(HOLDER_KEY, ""))
    except ValueError:
        return None
    return found if found.identity == identity else None


def _duration(seconds: object) -> float:
    return min(float(seconds), LONGEST_SECONDS) if isinstance(seconds, int) and seconds > 0 else DURATION_SECONDS


def written(item: Json) -> datetime | None:
    """Return when the API server saw this tool apply a Lease that was not like that before, in whole seconds."""
    entries = item["metadata"].get("managedFields") or []
    times = [x.get("time") for x in entries if (x.get("manager"), x.get("operation")) == (FIELD_MANAGER, "Apply")]
    return _time(times[0]) if times else None


def _time(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    # The first and the last year hold times that have no equal in UTC.
    return found.astimezone(UTC) if found.tzinfo and 1 < found.year < 9999 else None


def free_lease() -> Json:
    """Return a Lease to be created, that nobody holds."""
    return {"apiVersion": REF.api_version, "kind": REF.kind, "metadata": {"name": REF.name, "namespace": REF.namespace}}


def lease_over(item: Json, holder: Holder | None, duration_seconds: float, now: datetime) -> Json:
    """Return the Lease to be applied so that ``holder``, or nobody, has it; only fits while ``item`` is what is there.

    It is applied and not updated: only what is applied is dated with every change (see ``written``).
    """
    before, metadata = item.get("spec") or {}, item["metadata"]
    stamp = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # a server takes six digits, no more and no fewer
    is_renewal = holder is not None and before.get("holderIdentity") == holder.identity
    takes = int(before.get("leaseTransitions") or 0) + (holder is not None and not is_renewal)
    return {
        "apiVersion": REF.api_version, "kind": REF.kind,
        "metadata": {
            "name": REF.name, "namespace": REF.namespace, "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"], "labels": {"app.kubernetes.io/managed-by": FIELD_MANAGER},
            "annotations": {HOLDER_KEY: holder.model_dump_json()} if holder else {},
        },
        "spec": {
            "holderIdentity": holder.identity if holder else "",
            "leaseDurationSeconds": math.ceil(duration_seconds) if holder else 1,
            "acquireTime": (is_renewal and before.get("acquireTime")) or stamp, "renewTime": stamp,
            "leaseTransitions": min(takes, _MAX_INT32),
        },
    }  # fmt: skip
