"""A fleet for the tests: simulated clusters and real ones, and a Prefect server on PostgreSQL with what it is asked."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from compass.cluster.client import ClusterClient
from compass.cluster.lease import read_lock
from compass.cluster.record import Record, read_records
from compass.documents import dump_yaml
from compass.names import ObjectRef
from compass.site.access import read_access
from rehearsal.example.bundle import write_bundle
from rehearsal.pods import Behaviour
from rehearsal.site import SimulatedSite
from tests.flows.running import site_registry, wait_settled
from tests.material.bundles import legacy_bundle
from tests.servers.assets import ensure_command
from tests.servers.need import need
from tests.servers.postgres import postgres
from tests.servers.prefect import BIN, asked, environ_of, prefect_server
from tests.servers.process import wait_until
from tests.servers.site import Site

Answer = dict[str, Any]
MINION = ObjectRef("apps/v1", "Deployment", "kube-system", "am-minion")
OVER = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def window(begins_in_seconds: float, lasts: timedelta = timedelta(hours=1)) -> Answer:
    """Return a window that opens once, at a whole second."""
    start = (datetime.now(UTC) + timedelta(seconds=begins_in_seconds)).replace(microsecond=0, tzinfo=None)
    return {"start": start.isoformat(), "end": (start + lasts).isoformat(), "timezone": "UTC"}


@dataclass
class Fleet:
    """Clusters by the names of their deployments, with a kubeconfig each, and the server that has the deployments."""

    folder: Path
    api: str
    sites: dict[str, tuple[Path, str, Path]]
    kubeconfigs: dict[str, Path]
    objects: dict[str, str]
    simulated: SimulatedSite
    _deployed: dict[str, list[Answer]] = field(default_factory=dict)

    def deploy(self, names: list[str], **more: object) -> None:
        """Add clusters to the inventory of their site, with windows and the like, and deploy it."""
        for site in {x.partition("-")[0] for x in names}:
            here = self._deployed.setdefault(site, [])
            here += [self._cluster(x, more) for x in names if x.startswith(f"{site}-")]
            directory, registry, bundle = self.sites[site]
            document = {
                "apiVersion": "compass.upgrade/v1", "kind": "Inventory", "name": site, "bundle": str(bundle),
                "stateDir": str(self.folder / "state"), "workPool": "compass",
                "sites": [{"name": site, "directory": str(directory), "registry": registry, "clusters": here}],
            }  # fmt: skip
            (self.folder / f"{site}.yaml").write_text(dump_yaml(document))
            self.run("compass-upgrade", "deploy", "--inventory", f"{site}.yaml")

    def _cluster(self, name: str, more: Answer) -> Answer:
        role = "control" if name.endswith("control") else "user"
        choices = {"allow_data_loss": True, "patience_seconds": 20}
        return {"name": name, "object": self.objects[name], "role": role, "choices": choices, **more}

    def run(self, *words: str) -> str:
        """Run one of our commands or Prefect's, and return what it prints."""
        done = subprocess.run(
            [str(BIN / words[0]), *words[1:]], cwd=self.folder, env=environ_of(self.folder, self.api),
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    def start(self, name: str) -> None:
        """Start a cluster's upgrade by hand, as an operator does."""
        self.run("prefect", "deployment", "run", f"upgrade-cluster/{name}")

    def start_together(self, names: list[str]) -> None:
        """Start the upgrades of clusters in the same moment."""
        for found in asked(f"{self.api}/deployments/filter", deployments={"name": {"any_": names}},
                           flows={"name": {"any_": ["upgrade-cluster"]}}):  # fmt: skip
            asked(f"{self.api}/deployments/{found['id']}/create_flow_run")

    def let_pods_take(self, seconds: float, names: list[str]) -> None:
        """Let the pods of simulated clusters take so long to start."""
        for name in names:
            self.simulated.clusters[self.objects[name]].behaviour = Behaviour(start_seconds=seconds)

    def hurry_automations(self, seconds: int) -> None:
        """Let the automations that end dead runs wait only so long; the next ``deploy`` undoes it."""
        for item in asked(f"{self.api}/automations/filter"):
            body = {x: item[x] for x in ("name", "description", "enabled", "trigger", "actions")}
            body["trigger"]["within"] = seconds
            httpx.put(f"{self.api}/automations/{item['id']}", json=body, timeout=60).raise_for_status()

    def runs(self, *names: str) -> list[Answer]:
        """Return the upgrades of some clusters, or of all, that were ever meant to start by now."""
        chosen: Answer = {"flows": {"name": {"any_": ["upgrade-cluster"]}}}
        if names:
            chosen["deployments"] = {"name": {"any_": list(names)}}
        found = asked(f"{self.api}/flow_runs/filter", **chosen, sort="EXPECTED_START_TIME_ASC")
        return [dict(x) for x in found if not (x["auto_scheduled"] and x["state_type"] == "SCHEDULED")]

    def ended(self, names: list[str], seconds: float) -> list[Answer]:
        """Return the runs of clusters once each has some and all are over."""

        def over() -> list[Answer]:
            runs = self.runs(*names)
            known = {x["deployment_id"] for x in runs}
            return runs if len(known) == len(names) and all(x["state_type"] in OVER for x in runs) else []

        return wait_until(f"the upgrades of {names} to end", over, seconds, 1)

    @contextmanager
    def cluster(self, name: str) -> Iterator[ClusterClient]:
        """Open the way to a cluster."""
        with ClusterClient(read_access(self.kubeconfigs[name]), patience_seconds=20) as client:
            yield client

    def records(self, name: str) -> list[Record]:
        """Return what a cluster remembers of its upgrades."""
        with self.cluster(name) as client:
            return read_records(client)

    def image(self, name: str) -> str:
        """Return the version that a cluster runs."""
        with self.cluster(name) as client:
            item = client.get(MINION) or {}
        return str(item["spec"]["template"]["spec"]["containers"][0]["image"]).rpartition(":")[2]

    def is_locked(self, name: str) -> bool:
        """Tell whether somebody has a cluster's lock, and renewed it within its time."""
        with self.cluster(name) as client:
            lock = read_lock(client)
        if lock is None or lock.renewed is None:
            return lock is not None
        return datetime.now(UTC) < lock.renewed + timedelta(seconds=lock.duration_seconds)


@contextmanager
def fleet_of(simulated: int, real: Site, folder: Path) -> Iterator[Fleet]:
    """Bring up so many simulated user clusters beside a real site, and a Prefect server with one work pool."""
    users = [f"user-{number}" for number in range(1, simulated + 1)]
    need(lambda: ensure_command("postgres")["postgres"])
    with (
        SimulatedSite(folder / "simulated", users) as site,
        postgres(folder) as database,
        prefect_server(folder, schedules=True, PREFECT_SERVER_DATABASE_CONNECTION_URL=database) as api,
    ):
        wait_settled(real)
        asked(f"{api}/work_pools/", name="compass", type="process")
        kubeconfigs = {f"sim-{x}": y for x, y in site.kubeconfigs(folder / "kubeconfigs").items()}
        kubeconfigs |= {f"real-{x}": y.kubeconfig() for x, y in real.clusters.items()}
        sites = {
            "sim": (site.folder, f"http://{site.registry.host}", write_bundle(site.folder)),
            "real": (real.folder, site_registry(real.registry), legacy_bundle(folder / "b" / "component").folder),
        }
        yield Fleet(folder, api, sites, kubeconfigs, {x: x.partition("-")[2] for x in kubeconfigs}, site)
