"""Who owns what: objects by the identity of their owners, kept up to date by the events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rehearsal.api.store import Change, Key, Store

Json = dict[str, Any]
Place = tuple[Key, str, str]  # resource, namespace, name


class Index:
    """Objects by uid and by the uid of their owners."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._places: dict[str, Place] = {}
        self._owned: dict[str, dict[Place, None]] = {}
        store.listen(self._see)

    def _see(self, change: Change) -> None:
        metadata = change.item["metadata"]
        place = (change.key, metadata.get("namespace", ""), metadata["name"])
        if change.before is not None:
            for owner in change.before["metadata"].get("ownerReferences") or ():
                self._owned.get(owner["uid"], {}).pop(place, None)
                if not self._owned.get(owner["uid"], True):
                    del self._owned[owner["uid"]]
        if change.kind == "DELETED":
            self._places.pop(metadata["uid"], None)
            return
        self._places[metadata["uid"]] = place
        for owner in metadata.get("ownerReferences") or ():
            self._owned.setdefault(owner["uid"], {})[place] = None

    def place(self, uid: str) -> Place | None:
        """Return where an object is, ``None`` when it is gone."""
        return self._places.get(uid)

    def find(self, uid: str) -> Json | None:
        """Return an object by its identity."""
        place = self._places.get(uid)
        return self._store.get(*place) if place else None

    def owned(self, uid: str, key: Key | None = None) -> list[Json]:
        """Return what an object owns, of one resource or of all, in the order of creation."""
        return [item for _, item in self.places(uid, key)]

    def places(self, uid: str, key: Key | None = None) -> Iterator[tuple[Place, Json]]:
        """Yield what an object owns, and where it is."""
        for place in list(self._owned.get(uid, ())):
            item = self._store.get(*place) if key is None or place[0] == key else None
            if item is not None:
                yield place, item
