"""The controller manager: events in, work on the queue, one controller per kind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from rehearsal.api.definitions import DEFINITIONS, clean_up, establish, follow
from rehearsal.api.objects import Objects
from rehearsal.api.store import Change, Key
from rehearsal.controllers import (
    daemon_sets,
    deployments,
    garbage,
    jobs,
    namespaces,
    replica_sets,
    stateful_sets,
    volumes,
)
from rehearsal.controllers.index import Index
from rehearsal.controllers.queue import WorkQueue

Json = dict[str, Any]
Work = tuple[Any, ...]  # what to do, and where
Reconcile = Callable[[Objects, Index, Json], float | None]
_WORKLOADS: dict[Key, Reconcile] = {
    ("apps", "deployments"): deployments.reconcile,
    ("apps", "replicasets"): replica_sets.reconcile,
    ("apps", "daemonsets"): daemon_sets.reconcile,
    ("apps", "statefulsets"): stateful_sets.reconcile,
    ("batch", "jobs"): jobs.reconcile,
    volumes.CLAIMS: lambda objects, _, item: volumes.release_claim(objects, item),
    volumes.VOLUMES: lambda objects, _, item: volumes.release_volume(objects, item),
}
_KINDS = {
    "Deployment": ("apps", "deployments"),
    "ReplicaSet": ("apps", "replicasets"),
    "DaemonSet": ("apps", "daemonsets"),
    "StatefulSet": ("apps", "statefulsets"),
    "Job": ("batch", "jobs"),
}


class ControllerManager:
    """The controllers of one cluster; ``follows`` the events of its objects from the moment it is made."""

    def __init__(self, objects: Objects, loop: asyncio.AbstractEventLoop, ca_pem: str = "") -> None:
        self._objects = objects
        self._ca_pem = ca_pem
        self.index = Index(objects.store)
        self._queue = WorkQueue(loop, self._work)
        objects.store.listen(self._see)

    def close(self) -> None:
        """Stop all controllers."""
        self._queue.close()

    def _see(self, change: Change) -> None:
        follow(self._objects, change)
        metadata = change.item["metadata"]
        place = (change.key, metadata.get("namespace", ""), metadata["name"])
        if change.kind == "DELETED":
            self._queue.add(("gone", metadata["uid"]))
            if change.key == namespaces.ACCOUNTS:
                self._queue.add(("account", change.item["metadata"]["uid"], metadata["namespace"]))
        elif change.key in _WORKLOADS or change.key in (DEFINITIONS, namespaces.NAMESPACES, namespaces.ACCOUNTS):
            self._queue.add(("reconcile", *place))
        if "deletionTimestamp" in metadata and metadata.get("finalizers") and change.kind != "DELETED":
            self._queue.add(("going", *place))
        if change.key == daemon_sets.NODES and change.kind != "MODIFIED":
            for item in self._objects.store.all(("apps", "daemonsets")):
                about = item["metadata"]
                self._queue.add(("reconcile", ("apps", "daemonsets"), about["namespace"], about["name"]))
        for owner in metadata.get("ownerReferences") or ():
            self._see_owned(change, owner, place)

    def _see_owned(self, change: Change, owner: Json, place: tuple[Key, str, str]) -> None:
        key = _KINDS.get(owner["kind"])
        if key and owner.get("controller"):
            self._queue.add(("reconcile", key, place[1], owner["name"]))
        if self.index.place(owner["uid"]) is None:
            if change.kind != "DELETED":
                self._queue.add(("orphan", *place))
        elif change.kind == "DELETED":
            found = self.index.place(owner["uid"])
            if found:
                self._queue.add(("going", *found))

    def _work(self, key: Work) -> None:
        what, *rest = key
        if what == "gone":
            garbage.owner_gone(self._objects, self.index, *rest)
        elif what == "account":
            namespaces.take_tokens(self._objects, *rest)
        else:
            place = (rest[0], rest[1], rest[2])
            item = self._objects.store.get(*place)
            if item is not None:
                self._look_at(key, what, place, item)

    def _look_at(self, key: Work, what: str, place: tuple[Key, str, str], item: Json) -> None:
        if what == "orphan":
            garbage.collect(self._objects, self.index, place, item)
        elif what == "going":
            if "deletionTimestamp" in item["metadata"]:
                garbage.owner_going(self._objects, self.index, place, item)
        else:
            later = self._reconcile(place[0], item)
            if later is not None:
                self._queue.add_after(key, later)

    def _reconcile(self, key: Key, item: Json) -> float | None:
        if key == DEFINITIONS:
            if "deletionTimestamp" in item["metadata"]:
                return None if clean_up(self._objects, item) else namespaces.AGAIN_SECONDS
            establish(self._objects, item["metadata"]["name"])
            return None
        if key == namespaces.NAMESPACES:
            return namespaces.reconcile(self._objects, item, self._ca_pem)
        if key == namespaces.ACCOUNTS:
            namespaces.give_token(self._objects, item, self._ca_pem)
            return None
        return _WORKLOADS[key](self._objects, self.index, item)
