"""Watches: what happens to the objects of a resource, told as it happens.

Source: kubernetes.io, API concepts, section Efficient detection of changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from rehearsal.api.bodies import in_version
from rehearsal.api.kinds import Resource
from rehearsal.api.listing import selection
from rehearsal.api.objects import Objects
from rehearsal.api.status import ApiError, bad_request
from rehearsal.api.store import Change

Json = dict[str, Any]
Show = Callable[[Json], Json]
BOOKMARK_SECONDS = 60.0
LONGEST_SECONDS = 3000.0


class Watch:
    """One watch; it listens from the moment it is made."""

    def __init__(self, objects: Objects, resource: Resource, namespace: str, query: Mapping[str, str]) -> None:
        self._objects = objects
        self._resource = resource
        self._namespace = namespace
        self._matches = selection(resource, query)
        self._bookmarks = query.get("allowWatchBookmarks") in ("true", "1")
        self._seconds = _seconds(query.get("timeoutSeconds", ""))
        self._queue: asyncio.Queue[tuple[str, Json] | None] = asyncio.Queue()
        self._gone: Json | None = None
        self._end = objects.store.listen(self._see)
        try:
            self._begin(query.get("resourceVersion", ""), told=query.get("sendInitialEvents") in ("true", "1"))
        except ApiError:
            self._end()
            raise

    def _begin(self, version: str, *, told: bool) -> None:
        if told or version in ("", "0"):
            for item in self._objects.store.all(self._resource.key, self._namespace):
                if self._matches(item):
                    self._queue.put_nowait(("ADDED", item))
            if told:
                # Clients of today wait for this; 1.20 did not know it, and left them waiting.
                self._queue.put_nowait(("BOOKMARK", self._bookmark({"k8s.io/initial-events-end": "true"})))
            return
        if not version.isdigit():
            raise bad_request(f'strconv.ParseUint: parsing "{version}": invalid syntax')
        past = self._objects.store.since(int(version))
        if past is None:
            oldest = self._objects.store.version
            error = ApiError(410, "Expired", f"too old resource version: {version} ({oldest})")
            self._gone = error.body
            return
        for change in past:
            self._see(change)

    def _see(self, change: Change) -> None:
        if change.key != self._resource.key:
            return
        if self._namespace and change.item["metadata"].get("namespace") != self._namespace:
            return
        after = change.kind != "DELETED" and self._matches(change.item)
        before = change.before is not None and self._matches(change.before)
        if after:
            self._queue.put_nowait(("MODIFIED" if before else "ADDED", change.item))
        elif before:
            # What no longer fits the selector is gone for this watcher; it sees the last state that fitted.
            metadata = change.item["metadata"]
            shown = {**(change.before or {})}
            shown["metadata"] = {**shown["metadata"], "resourceVersion": metadata["resourceVersion"]}
            self._queue.put_nowait(("DELETED", shown))

    def stop(self) -> None:
        """End the watch, as a server does that goes away."""
        self._queue.put_nowait(None)

    async def events(self, show: Show) -> AsyncIterator[Json]:
        """Yield events; ``show`` turns an object into what the client asked for."""
        try:
            if self._gone:
                yield {"type": "ERROR", "object": self._gone}
                return
            loop = asyncio.get_running_loop()
            end = loop.time() + self._seconds
            while (left := end - loop.time()) > 0:
                try:
                    event = await asyncio.wait_for(self._queue.get(), min(left, BOOKMARK_SECONDS))
                except TimeoutError:
                    if self._bookmarks:
                        yield {"type": "BOOKMARK", "object": self._bookmark({})}
                    continue
                if event is None:
                    return
                kind, item = event
                shown = item if kind == "BOOKMARK" else show(in_version(item, self._resource))
                yield {"type": kind, "object": shown}
        finally:
            self._end()

    def _bookmark(self, annotations: Json) -> Json:
        resource = self._resource
        metadata: Json = {"resourceVersion": str(self._objects.store.version), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        return {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}

    def close(self) -> None:
        """Listen no more."""
        self._end()


def _seconds(text: str) -> float:
    if not text:
        return LONGEST_SECONDS
    try:
        return float(int(text)) or LONGEST_SECONDS
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
