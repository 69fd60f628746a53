"""The objects of one cluster, and what happened to them; the place of etcd and the watch cache.

An object that was put is never changed again: a newer one takes its place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
Key = tuple[str, str]  # group and plural
Name = tuple[str, str]  # namespace and name
KEPT_EVENTS = 2000


@dataclass(frozen=True)
class Change:
    """One event; ``before`` is the object before it, ``version`` the cluster's counter after it."""

    version: int
    kind: str
    key: Key
    item: Json
    before: Json | None


Listener = Callable[[Change], None]


@dataclass
class Store:
    """Objects by resource, a counter, and the latest events."""

    version: int = 0
    _items: dict[Key, dict[Name, Json]] = field(default_factory=dict)
    _events: deque[Change] = field(default_factory=lambda: deque(maxlen=KEPT_EVENTS))
    _listeners: list[Listener] = field(default_factory=list)
    _forgotten: int = 0

    def get(self, key: Key, namespace: str, name: str) -> Json | None:
        """Return an object, ``None`` where there is none."""
        return self._items.get(key, {}).get((namespace, name))

    def all(self, key: Key, namespace: str = "") -> list[Json]:
        """Return the objects of a resource in the order of their names, of one namespace or (empty) of all."""
        items = self._items.get(key, {})
        return [items[x] for x in sorted(items) if not namespace or x[0] == namespace]

    def every(self) -> Iterator[tuple[Key, Json]]:
        """Yield each object with its resource."""
        for key, items in self._items.items():
            for item in list(items.values()):
                yield key, item

    def put(self, key: Key, item: Json) -> Json:
        """Store an object under the next version and tell everybody; the object returned is the one stored."""
        metadata = item["metadata"]
        name = (metadata.get("namespace", ""), metadata["name"])
        items = self._items.setdefault(key, {})
        before = items.get(name)
        self.version += 1
        metadata["resourceVersion"] = str(self.version)
        items[name] = item
        self._tell(Change(self.version, "MODIFIED" if before else "ADDED", key, item, before))
        return item

    def remove(self, key: Key, item: Json) -> Json:
        """Remove an object, tell everybody, and return its last state."""
        metadata = item["metadata"]
        before = self._items[key].pop((metadata.get("namespace", ""), metadata["name"]))
        self.version += 1
        last = {**before, "metadata": {**before["metadata"], "resourceVersion": str(self.version)}}
        self._tell(Change(self.version, "DELETED", key, last, before))
        return last

    def drop(self, key: Key) -> None:
        """Forget a resource that is served no more."""
        self._items.pop(key, None)

    def _tell(self, change: Change) -> None:
        if len(self._events) == self._events.maxlen:
            self._forgotten = self._events[0].version
        self._events.append(change)
        for listener in tuple(self._listeners):
            listener(change)

    def since(self, version: int) -> list[Change] | None:
        """Return the events after a version; ``None`` where they are no longer known."""
        if version < self._forgotten:
            return None
        return [x for x in self._events if x.version > version]

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` for every event from now on; returns what ends it."""
        self._listeners.append(listener)

        def end() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return end

    def compact(self) -> None:
        """Forget all events, as a server does after some minutes."""
        self._events.clear()
        self._forgotten = self.version
