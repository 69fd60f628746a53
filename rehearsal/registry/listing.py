"""Lists of tags and of repositories, in pages.

Sources: OCI distribution specification 1.1, section Listing Tags; distribution's HTTP API V2, section Catalog.
"""

from __future__ import annotations

from itertools import islice
from urllib.parse import urlencode

from starlette.responses import Response

from rehearsal.registry.call import Call
from rehearsal.registry.errors import RegistryError, json_response
from rehearsal.registry.layout import Layout

MAX_ENTRIES = 1000


class Listing:
    """What answers at ``/v2/<name>/tags/list`` and ``/v2/_catalog``."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    async def tags(self, call: Call) -> Response:
        """Answer GET of the tags of a repository."""
        tags = self._layout.tags(call.name)
        if tags is None:
            raise RegistryError("NAME_UNKNOWN", {"name": call.name})
        rest = [x for x in tags if x > call.query.get("last", "")]
        page, headers = _page(rest, _count(call, len(tags)), f"/v2/{call.name}/tags/list")
        return json_response({"name": call.name, "tags": page}, headers=headers)

    async def repositories(self, call: Call) -> Response:
        """Answer GET of the catalog."""
        count = _count(call, MAX_ENTRIES)
        if count > MAX_ENTRIES:
            raise RegistryError("PAGINATION_NUMBER_INVALID", {"n": count})
        last = _key(call.query.get("last", ""))
        found = (x for x in self._layout.repositories() if _key(x) > last)
        rest = list(islice(found, count + 1))  # one more, which tells that there is a next page
        page, headers = _page(rest, count, "/v2/_catalog")
        return json_response({"repositories": page}, headers=headers)


def _count(call: Call, usual: int) -> int:
    """Return how many are wanted; what is no number is taken for no wish, as distribution does."""
    text = call.query.get("n", "")
    return int(text) if text.isdigit() and text.isascii() else usual


def _page(rest: list[str], count: int, path: str) -> tuple[list[str], dict[str, str]]:
    page = rest[:count]
    if not page or len(rest) == len(page):
        return page, {}
    query = urlencode({"last": page[-1], "n": count})
    return page, {"Link": f'<{path}?{query}>; rel="next"'}


def _key(name: str) -> str:
    return name.replace("/", "\0")
