"""Distil what a real API server says of itself into ``builtin.json.gz``, the data that the simulation serves.

Run once per Kubernetes version: ``python -m rehearsal.api.distill URL TOKEN CA_FILE``.
Descriptions are left out; of the paths only that they are there.
"""

from __future__ import annotations

import gzip
import json
import ssl
import sys
from typing import Any

import httpx

from rehearsal.api.builtin import DATA, SERVED

Json = dict[str, Any]


def distil(client: httpx.Client) -> Json:
    """Return version, discovery and type definitions of a server."""
    groups = []
    for group in client.get("/apis").raise_for_status().json()["groups"]:
        kept = [x for x in group["versions"] if x["groupVersion"] in SERVED]
        if kept:
            preferred = group["preferredVersion"] if group["preferredVersion"] in kept else kept[0]
            groups.append({"name": group["name"], "versions": kept, "preferredVersion": preferred})
    resources = {
        gv: client.get(f"/apis/{gv}" if "/" in gv else f"/api/{gv}").raise_for_status().json() for gv in SERVED
    }
    document = client.get("/openapi/v2").raise_for_status().json()
    return {
        "version": client.get("/version").raise_for_status().json(),
        "groups": groups,
        "resources": resources,
        "definitions": _without_descriptions(document["definitions"]),
    }


def _without_descriptions(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            k: _without_descriptions(v) for k, v in value.items() if not (k == "description" and isinstance(v, str))
        }
    if isinstance(value, list):
        return [_without_descriptions(x) for x in value]
    return value


def main(url: str, token: str, ca_file: str) -> None:
    """Ask the server and write the file."""
    verify = ssl.create_default_context(cafile=ca_file)
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, headers=headers, verify=verify, timeout=60, trust_env=False) as client:
        text = json.dumps(distil(client), separators=(",", ":"), sort_keys=True)
    DATA.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main(*sys.argv[1:4])
