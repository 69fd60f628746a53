"""A small kubelet and scheduler in one: pods run in name only, but their images are really asked for."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self

import httpx

from compass.clock import iso
from rehearsal.pods import Behaviour, Json, Pod
from rehearsal.pulling import ImageSource, trusting

TICK_SECONDS = 0.2
HEARTBEAT_SECONDS = 10.0
CAPACITY = {"cpu": "64", "memory": "256Gi", "pods": "500"}
_MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}
_AT_ONCE = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}


@dataclass(frozen=True)
class ApiServer:
    """How an API server is reached; without ``ca_pem`` the system's authorities are trusted."""

    url: str
    token: str = field(repr=False)
    ca_pem: str = ""


class SimulatedKubelet:
    """One node in a thread of its own; ``with`` starts and stops it."""

    def __init__(
        self, api: ApiServer, images: ImageSource, *, node: str = "node-1", behaviour: Behaviour | None = None
    ) -> None:
        self.node = node
        self.behaviour = behaviour or Behaviour()
        self.last_error = ""
        self._images = images
        self._present: dict[str, str] = {}
        self._pods: dict[str, Pod] = {}
        self._heartbeat_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"kubelet {node}", daemon=True)
        headers = {"Authorization": f"Bearer {api.token}"} if api.token else {}
        self._http = httpx.Client(
            base_url=api.url, headers=headers, verify=trusting(api.ca_pem), timeout=10, trust_env=False
        )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Start the node; it joins the cluster as soon as the API server answers."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop the node; its pods stay on the API server as they are."""
        self._stop.set()
        self._thread.join()
        self._http.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._tick()
            except (httpx.HTTPError, ValueError, KeyError) as error:
                # An API server that is away, or hangs, or answers with half a document: ask again.
                self.last_error = f"{type(error).__name__}: {error}"
            self._stop.wait(TICK_SECONDS)

    def _tick(self) -> None:
        if time.monotonic() >= self._heartbeat_at:
            self._beat()
            self._heartbeat_at = time.monotonic() + HEARTBEAT_SECONDS
        pods = self._http.get("/api/v1/pods").raise_for_status().json()["items"]
        for pod in pods:
            self._see(pod)
        here = {x["metadata"]["uid"] for x in pods}
        self._pods = {uid: pod for uid, pod in self._pods.items() if uid in here}

    def _beat(self) -> None:
        """Tell the API server that the node is there and ready."""
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.node, "labels": {"kubernetes.io/hostname": self.node}},
        }
        self._send("POST", "/api/v1/nodes", node)
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": _clock()}
        status = {"conditions": [ready], "capacity": CAPACITY, "allocatable": CAPACITY}
        self._send("PATCH", f"/api/v1/nodes/{self.node}/status", {"status": status})

    def _see(self, pod: Json) -> None:
        spec, metadata = pod["spec"], pod["metadata"]
        if not spec.get("nodeName"):
            if "deletionTimestamp" not in metadata:
                self._bind(metadata)
        elif spec["nodeName"] == self.node and "deletionTimestamp" in metadata:
            self._send("DELETE", _path(metadata), _AT_ONCE | {"preconditions": {"uid": metadata["uid"]}})
        elif spec["nodeName"] == self.node and not self._settled(pod):
            self._work(pod)

    def _settled(self, pod: Json) -> bool:
        """Tell whether a pod already runs, or ran to its end, under a kubelet before this one."""
        phase = pod.get("status", {}).get("phase")
        return pod["metadata"]["uid"] not in self._pods and phase in ("Running", "Succeeded", "Failed")

    def _bind(self, metadata: Json) -> None:
        target = {"apiVersion": "v1", "kind": "Node", "name": self.node}
        about = {"name": metadata["name"], "namespace": metadata["namespace"]}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": about, "target": target}
        self._send("POST", f"{_path(metadata)}/binding", binding)

    def _work(self, manifest: Json) -> None:
        pod = self._pods.setdefault(manifest["metadata"]["uid"], Pod.of(manifest, _clock()))
        pod.advance(self._pull, self.behaviour, time.monotonic())
        status = pod.status(self.behaviour, time.monotonic(), _clock())
        if status != pod.written:
            self._send("PATCH", f"{_path(manifest['metadata'])}/status", {"status": status})
            pod.written = status
        for container in (*pod.init, *pod.main):
            if container.reason == "ErrImagePull" and not container.told:
                container.told = True
                self._tell(manifest["metadata"], f'Failed to pull image "{container.spec["image"]}"', container.message)

    def _pull(self, container: Json) -> str:
        image = container["image"]
        # As a node does: what was pulled once stays, unless the pod wants it asked for every time.
        if image not in self._present or container.get("imagePullPolicy") == "Always":
            self._present[image] = self._images.pull(image)
        return self._present[image]

    def _tell(self, metadata: Json, what: str, why: str) -> None:
        """Write an Event as the kubelet does."""
        about = {"apiVersion": "v1", "kind": "Pod", **{k: metadata[k] for k in ("name", "namespace", "uid")}}
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{metadata['name']}.", "namespace": metadata["namespace"]},
            "involvedObject": about,
            "type": "Warning",
            "reason": "Failed",
            "message": f"{what}: {why}",
            "source": {"component": "kubelet", "host": self.node},
            "firstTimestamp": _clock(),
            "lastTimestamp": _clock(),
            "count": 1,
        }
        self._send("POST", f"/api/v1/namespaces/{metadata['namespace']}/events", event)

    def _send(self, method: str, path: str, body: Json) -> None:
        """Send a request; what somebody else did or undid meanwhile is no error."""
        headers = _MERGE_PATCH if method == "PATCH" else {}
        answer = self._http.request(method, path, json=body, headers=headers)
        if answer.is_server_error:
            answer.raise_for_status()
        elif answer.is_error and answer.status_code not in (httpx.codes.NOT_FOUND, httpx.codes.CONFLICT):
            # One pod's trouble stays there.
            self.last_error = f"{method} {path}: {answer.status_code} {answer.text[:300]}"


def _path(metadata: Json) -> str:
    return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"


def _clock() -> str:
    return iso(datetime.now(UTC))
