"""A real site that is upgraded night after night: brought back to the old version between two, and compared."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compass.change.diff import comparable
from tests.flows.running import wait_settled
from tests.material.clusters import (
    RELEASE_API,
    apply,
    create,
    get,
    listed,
    old_control_components,
    old_user_components,
    path_of,
    removable_releases,
)
from tests.servers.control_plane import ControlPlane
from tests.servers.process import descendants, wait_until
from tests.servers.site import Site

Json = dict[str, Any]
Name = tuple[str, str, str]
NAMESPACES = ("default", "kube-system")
KINDS = (
    ("v1", "Service"), ("v1", "ServiceAccount"), ("v1", "ConfigMap"), ("v1", "PersistentVolumeClaim"),
    ("apps/v1", "Deployment"), (RELEASE_API, "Release"),
)  # fmt: skip
#: What comes and goes by itself.
_OF_THE_CLUSTER = {"kubernetes", "kube-root-ca.crt", "extension-apiserver-authentication", "compass-upgrade"}


@dataclass(frozen=True)
class Nights:
    """A site with what it takes to begin again."""

    site: Site

    def reset(self) -> None:
        """Bring every cluster back to the old version, with no memory of an upgrade."""
        for name, plane in self.site.clusters.items():
            old = old_control_components if name == "control" else old_user_components
            for kind, namespace, one in self.state(plane):
                if kind != "Release" and not (kind == "ServiceAccount" and one == "default"):
                    delete(plane, next(x for x in KINDS if x[1] == kind), namespace, one)
            delete(plane, ("v1", "ConfigMap"), "kube-system", "compass-upgrade")
            delete(plane, ("coordination.k8s.io/v1", "Lease"), "kube-system", "compass-upgrade")
            wait_until("nothing is left", lambda plane=plane: not pods(plane), 60)  # type: ignore[misc]
            apply(plane, old(self.site.registry.host))
        there = {(x["metadata"]["namespace"], x["metadata"]["name"]) for x in self.releases()}
        missing = [x for x in removable_releases() if (x["metadata"]["namespace"], x["metadata"]["name"]) not in there]
        create(self.site.control, missing)
        wait_settled(self.site)

    def releases(self) -> list[Json]:
        """Return the Releases of the control cluster."""
        return listed(self.site.control, RELEASE_API, "Release")

    def state(self, plane: ControlPlane) -> Mapping[Name, Json]:
        """Return what an upgrade may change on a cluster, without what the cluster itself gives out or counts."""
        found = {}
        for api_version, kind in KINDS:
            for namespace in NAMESPACES:
                with plane.client() as api:
                    answer = api.get(path_of(api_version, kind, namespace))
                for item in answer.json()["items"] if answer.is_success else []:
                    if item["metadata"]["name"] not in _OF_THE_CLUSTER:
                        found[kind, namespace, item["metadata"]["name"]] = _lasting(item)
        return found

    def states(self) -> dict[str, Mapping[Name, Json]]:
        """Return the state of every cluster."""
        return {name: self.state(plane) for name, plane in self.site.clusters.items()}

    def locks(self) -> dict[str, str]:
        """Return who holds the lock of each cluster."""
        found = {}
        for name, plane in self.site.clusters.items():
            lease = get(plane, "coordination.k8s.io/v1", "Lease", "kube-system", "compass-upgrade")
            found[name] = str(((lease or {}).get("spec") or {}).get("holderIdentity") or "")
        return found

    def record(self, name: str) -> Json:
        """Return the newest Record of a cluster."""
        item = get(self.site.clusters[name], "v1", "ConfigMap", "kube-system", "compass-upgrade")
        return dict(json.loads(item["data"]["record"])) if item else {}


def differing(before: Mapping[Name, Json], after: Mapping[Name, Json]) -> set[str]:
    """Return the objects that are not the same in two states, as ``Kind/namespace/name``."""
    return {"/".join(x) for x in before.keys() | after.keys() if before.get(x) != after.get(x)}


def _lasting(item: Json) -> Json:
    kept = comparable(item)
    for key in ("clusterIP", "clusterIPs", "volumeName"):
        kept.get("spec", {}).pop(key, None)
    kept.pop("secrets", None)
    annotations = {
        key: value
        for key, value in (kept["metadata"].get("annotations") or {}).items()
        if key != "deployment.kubernetes.io/revision" and not key.startswith("pv.kubernetes.io/")
    }
    kept["metadata"] = {**kept["metadata"], "annotations": annotations}
    return kept


def pods(plane: ControlPlane) -> list[Json]:
    """Return the pods of the namespaces that are upgraded."""
    return [x for namespace in NAMESPACES for x in listed(plane, "v1", "Pod", namespace)]


def delete(plane: ControlPlane, kind: tuple[str, str], namespace: str, name: str) -> None:
    """Delete an object and wait until it is gone."""
    path = f"{path_of(*kind, namespace)}/{name}"
    with plane.client() as api:
        if kind[1] == "PersistentVolumeClaim":
            headers = {"Content-Type": "application/merge-patch+json"}
            api.patch(path, content='{"metadata": {"finalizers": null}}', headers=headers)
        api.request("DELETE", path, content='{"propagationPolicy": "Background"}')
        wait_until(f"{name} is gone", lambda: api.get(path).status_code == 404, 30)


def kill_tree(process: subprocess.Popen[str]) -> None:
    """Kill a process with all that descends from it, whatever session it is in, and wait for it."""
    for pid in [*descendants(process.pid), process.pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.communicate()


def run_until(process: subprocess.Popen[str], seconds: float) -> bool:
    """Let a process run for a while; tell whether it still does."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and process.poll() is None:
        time.sleep(0.02)
    return process.poll() is None
