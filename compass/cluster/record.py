"""The Record: what a cluster says of itself, in the ConfigMap ``kube-system/compass-upgrade``."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field

from compass.cluster.client import ClusterClient
from compass.documents import Document
from compass.errors import InvalidInput
from compass.names import ObjectRef

REF = ObjectRef("v1", "ConfigMap", "kube-system", "compass-upgrade")
KEPT = 10


class Record(Document):
    """One upgrade of this cluster; times are RFC 3339 in UTC, ``seconds`` how long each step took.

    ``backup`` is the folder of the state before it, at ``by``'s machine.  ``applied`` is every object that this tool
    has applied to the cluster and not deleted, as ``apiVersion Kind/namespace/name``; only the newest Record has it.
    """

    bundle: str
    version: str
    digest: str
    plan_digest: str
    state: Literal["running", "done", "failed", "rolled back", "restored"]
    step: str
    by: str
    tool: str
    started: str
    finished: str = ""
    problem: str = ""
    backup: str = ""
    changes: dict[str, int] = Field(default_factory=dict)
    seconds: dict[str, float] = Field(default_factory=dict)
    applied: tuple[str, ...] = ()

    @property
    def is_interrupted(self) -> bool:
        """Whether the upgrade neither ended well nor was taken back."""
        return self.state in ("running", "failed")

    @property
    def applied_refs(self) -> tuple[ObjectRef, ...]:
        """The objects of ``applied``."""
        return tuple(_read_ref(x) for x in self.applied)


def written_ref(ref: ObjectRef) -> str:
    """Return an object as a Record lists it."""
    return f"{ref.api_version} {ref}"


def _read_ref(text: str) -> ObjectRef:
    api_version, _, rest = text.partition(" ")
    kind, _, name = rest.partition("/")
    namespace, _, last = name.rpartition("/")
    return ObjectRef(api_version, kind, namespace, last)


def read_records(client: ClusterClient) -> list[Record]:
    """Return what the cluster remembers, newest first; empty when it was never upgraded by us.

    Raises:
        InvalidInput: the ConfigMap is there, but not as we write it.
    """
    item = client.get(REF)
    return parse_records(item, client.where) if item else []


def parse_records(item: dict[str, Any], where: str) -> list[Record]:
    """Return the records inside the ConfigMap, newest first."""
    data = item.get("data") or {}
    try:
        entries = [json.loads(data["record"]), *json.loads(data.get("history", "[]"))] if "record" in data else []
        return [Record.model_validate(x) for x in entries]
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidInput(
            "read Record", f"{REF} on {where}", found=f"not as compass-upgrade writes it ({type(error).__name__})",
            do="delete the ConfigMap, or restore it",
        ) from None  # fmt: skip


def write_record(client: ClusterClient, record: Record) -> None:
    """Make ``record`` the cluster's newest; one of the same run (bundle and start) is replaced, others move down."""
    past = read_records(client)
    if past and (past[0].digest, past[0].started) == (record.digest, record.started):
        past = past[1:]
    history = [x.model_dump(exclude={"applied"}) for x in past[: KEPT - 1]]
    client.apply(
        {
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": REF.name, "namespace": REF.namespace,
                         "labels": {"app.kubernetes.io/managed-by": "compass-upgrade"}},
            "data": {"record": json.dumps(record.model_dump()), "history": json.dumps(history)},
        },
        force=True,
    )  # fmt: skip
