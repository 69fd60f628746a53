"""Lists: selected, paged, plain or as a table.

Source: kubernetes.io, API concepts, section Retrieving large results sets in chunks.
"""

from __future__ import annotations

import base64
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rehearsal.api.bodies import in_version
from rehearsal.api.kinds import Resource
from rehearsal.api.objects import Objects
from rehearsal.api.selectors import Matches, both, field_selector, label_selector
from rehearsal.api.status import bad_request, expired

Json = dict[str, Any]
KEPT_SNAPSHOTS = 64
TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter."
)


@dataclass
class Snapshot:
    """The rest of a list that is handed out page by page."""

    version: int
    items: list[Json]


@dataclass
class Pages:
    """The lists of one cluster that are not read to their end."""

    _snapshots: OrderedDict[str, Snapshot] = field(default_factory=OrderedDict)
    _count: int = 0

    def keep(self, snapshot: Snapshot) -> str:
        """Remember the rest of a list and return the token for it."""
        self._count += 1
        name = f"{snapshot.version}.{self._count}"
        self._snapshots[name] = snapshot
        while len(self._snapshots) > KEPT_SNAPSHOTS:
            self._snapshots.popitem(last=False)
        token = {"v": "meta.k8s.io/v1", "rv": snapshot.version, "start": name}
        return base64.urlsafe_b64encode(json.dumps(token, separators=(",", ":")).encode()).decode().rstrip("=")

    def open(self, token: str) -> Snapshot:
        """Return the rest of a list.

        Raises:
            ApiError: the token is none, or too old.
        """
        try:
            found = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
            name = str(found["start"])
        except (ValueError, KeyError, TypeError) as error:
            raise bad_request(f"invalid continue token: continue key is not valid: {error}") from None
        snapshot = self._snapshots.get(name)
        if snapshot is None:
            raise expired(TOO_OLD)
        return snapshot

    def forget(self) -> None:
        """Let every token be too old."""
        self._snapshots.clear()


def selection(resource: Resource, query: Mapping[str, str]) -> Matches:
    """Return the test of a query's two selectors.

    Raises:
        ApiError: one is no selector.
    """
    return both(
        (
            label_selector(query.get("labelSelector", "")),
            field_selector(query.get("fieldSelector", ""), resource.kind),
        )
    )


def page(
    objects: Objects, pages: Pages, resource: Resource, namespace: str, query: Mapping[str, str]
) -> tuple[list[Json], Json]:  # fmt: skip
    """Return the objects of a page and the metadata of the list.

    Raises:
        ApiError: the query is wrong, or its token too old.
    """
    token, limit = query.get("continue", ""), _number(query.get("limit", ""))
    if token:
        snapshot = pages.open(token)
    else:
        matches = selection(resource, query)
        items = [x for x in objects.store.all(resource.key, namespace) if matches(x)]
        snapshot = Snapshot(objects.store.version, items)
    metadata: Json = {"resourceVersion": str(snapshot.version)}
    if resource.is_custom:
        metadata["continue"] = ""
    items, rest = (snapshot.items[:limit], snapshot.items[limit:]) if limit else (snapshot.items, [])
    if rest:
        metadata["continue"] = pages.keep(Snapshot(snapshot.version, rest))
        if not query.get("labelSelector") and not query.get("fieldSelector"):
            metadata["remainingItemCount"] = len(rest)
    return [in_version(x, resource) for x in items], metadata


def _number(text: str) -> int:
    try:
        return max(int(text or 0), 0)
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def list_body(resource: Resource, items: list[Json], metadata: Json) -> Json:
    """Return a list as a document; items of built-in kinds do not repeat what they are."""
    if not resource.is_custom:
        items = [{k: v for k, v in x.items() if k not in ("apiVersion", "kind")} for x in items]
    return {
        "kind": resource.list_kind or f"{resource.kind}List",
        "apiVersion": resource.api_version,
        "metadata": metadata,
        "items": items,
    }
