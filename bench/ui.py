"""Which hosts the pages of Prefect's UI ask: a run of ours and its artifacts, in headless Chromium.

A simulated cluster is upgraded by its own deployment; then the pages of that run are opened, each in a new browser, and
every request that a page makes (but for its workers') is counted by host, as the browser's own debugger shows it.  Ends
with status 1 when a page asks anybody but the Prefect server.

Run ``.venv/bin/python -m bench.ui [--pictures FOLDER] [--v2]`` on a machine that has ``chromium``.
"""

from __future__ import annotations

import argparse
import base64
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from websockets.sync.client import ClientConnection, connect

from bench.measuring import run, say
from compass.documents import dump_yaml
from rehearsal.example.bundle import write_bundle
from rehearsal.site import SimulatedSite
from tests.servers.prefect import BIN, asked, environ_of, prefect_server, prefect_worker
from tests.servers.process import Server, free_port, listening, wait_until

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--window-size=1400,1000",
)  # fmt: skip
SETTLED_SECONDS = 8.0
LONGEST_SECONDS = 60.0
#: As docs/engine.md has them.
SETTINGS = {"PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false"}
Json = dict[str, Any]


def main() -> int:
    """Upgrade, look, count, print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, help="folder to keep a picture of each page in")
    parser.add_argument("--v2", action="store_true", help="with the newer UI, which the settings switch off")
    given = parser.parse_args()
    if not shutil.which("chromium"):
        sys.exit("no chromium on this machine")
    foreign = 0
    with tempfile.TemporaryDirectory(prefix="bench-ui-") as name:
        folder = Path(name)
        with _server_with_a_run(folder, v2=given.v2) as (api, pages):
            for page, address in pages.items():
                hosts = _open(address, folder / page, given.pictures and given.pictures / f"{page}.png")
                foreign += sum(number for host, number in hosts.items() if host != urlsplit(api).netloc)
                say(f"{page:10} {sum(hosts.values()):4} requests: {dict(hosts)}")
    say(f"requests to other hosts: {foreign}")
    return 1 if foreign else 0


@contextmanager
def _server_with_a_run(folder: Path, *, v2: bool) -> Iterator[tuple[str, dict[str, str]]]:
    """Give a server's API and the pages of a run that has upgraded a cluster."""
    settings = {**SETTINGS, "PREFECT_SERVER_UI_V2_ENABLED": str(v2).lower()}
    with (
        SimulatedSite(folder / "site", ["user-1"]) as site,
        prefect_server(folder, schedules=True, ui=True, **settings) as api,
    ):
        asked(f"{api}/work_pools/", name="compass", type="process")
        clusters = [{"name": "beijing-user-1", "object": "user-1", "role": "user"}]
        place = {"name": "beijing", "directory": str(site.folder), "registry": f"http://{site.registry.host}"}
        (folder / "inventory.yaml").write_text(dump_yaml({
            "apiVersion": "compass.upgrade/v1", "kind": "Inventory", "bundle": str(write_bundle(site.folder)),
            "stateDir": str(folder / "state"), "workPool": "compass", "sites": [{**place, "clusters": clusters}],
        }))  # fmt: skip
        environ = environ_of(folder, api)
        run([BIN / "compass-upgrade", "deploy", "--inventory", folder / "inventory.yaml"], env=environ)
        with prefect_worker(folder, api, "one"):
            run([BIN / "prefect", "deployment", "run", "upgrade-cluster/beijing-user-1"], env=environ)
            wait_until("the upgrade to end well", lambda: _runs(api)[0]["state_type"] == "COMPLETED", 180, 1)
        yield api, _pages(api)


def _runs(api: str) -> list[Json]:
    return [dict(x) for x in asked(f"{api}/flow_runs/filter")]


def _pages(api: str) -> dict[str, str]:
    base, (done,) = api.removesuffix("/api"), _runs(api)
    artifacts = {x["key"]: x["id"] for x in asked(f"{api}/artifacts/filter")}
    return {
        "run": f"{base}/runs/flow-run/{done['id']}", "artifacts": f"{base}/runs/flow-run/{done['id']}?tab=Artifacts",
        **{x: f"{base}/artifacts/artifact/{artifacts[f'{x}-user-1']}" for x in ("plan", "check")},
        "deployments": f"{base}/deployments", "dashboard": f"{base}/dashboard",
    }  # fmt: skip


def _open(address: str, profile: Path, picture: Path | None) -> Counter[str]:
    """Open a page in a browser of its own, wait until it is settled, and return how often it asked whom."""
    port = free_port()
    words = ["chromium", *FLAGS, f"--remote-debugging-port={port}", f"--user-data-dir={profile}", "about:blank"]
    browser = Server("chromium", words, profile.with_suffix(".log"))
    try:
        browser.wait_ready(lambda: listening(port))
        tabs = httpx.get(f"http://127.0.0.1:{port}/json").raise_for_status().json()
        tab = next(x for x in tabs if x["type"] == "page")
        with connect(tab["webSocketDebuggerUrl"], max_size=None) as debugger:
            return _watch(debugger, address, picture)
    finally:
        browser.stop()


def _watch(debugger: ClientConnection, address: str, picture: Path | None) -> Counter[str]:
    numbers = count(1)

    def tell(method: str, **params: object) -> int:
        number = next(numbers)
        debugger.send(json.dumps({"id": number, "method": method, "params": params}))
        return number

    tell("Network.enable")
    tell("Page.navigate", url=address)
    hosts: Counter[str] = Counter()
    ends, shot = time.monotonic() + SETTLED_SECONDS, 0
    paths: set[bool] = set()
    while time.monotonic() < ends + LONGEST_SECONDS:
        try:
            event = json.loads(debugger.recv(timeout=0.2))
        except TimeoutError:
            event = {}
        if event.get("method") == "Network.requestWillBeSent":
            hosts.update(_host(event["params"]["request"]["url"]))
            paths.add(urlsplit(event["params"]["request"]["url"]).path.split("/")[1:2] == ["api"])
        if event.get("method") == "Network.webSocketCreated":
            hosts.update(_host(event["params"]["url"]))
        if shot and event.get("id") == shot:
            if picture:
                picture.parent.mkdir(parents=True, exist_ok=True)
                picture.write_bytes(base64.b64decode(event["result"]["data"]))
            if True not in paths:
                raise SystemExit(f"{address}: the page did not come up, it asked the API nothing")
            return hosts
        if not shot and time.monotonic() > ends:
            shot = tell("Page.captureScreenshot")
    raise SystemExit(f"{address}: no picture within {LONGEST_SECONDS:g} s")


def _host(url: str) -> list[str]:
    """Return whom an address asks; what is inside the page itself (``data:``, ``blob:``) asks nobody."""
    return [urlsplit(url).netloc] if url.startswith(("http", "ws")) else []


if __name__ == "__main__":
    sys.exit(main())
