"""A node of a simulated cluster: scheduler and kubelet in one, driven by the cluster's events.

Pods run in name only (``rehearsal.pods``), but their images are really asked for at the registry.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from rehearsal.api.deletion import Options, delete
from rehearsal.api.kinds import Resource
from rehearsal.api.objects import CONTROLLER, QUIET, Objects, now
from rehearsal.api.status import ApiError
from rehearsal.api.store import Change
from rehearsal.api.subresources import bind
from rehearsal.pods import Behaviour, Container, Pod
from rehearsal.pulling import PullFailed

Json = dict[str, Any]
log = logging.getLogger(__name__)
PODS = ("", "pods")
CAPACITY = {"cpu": "64", "memory": "256Gi", "pods": "500", "ephemeral-storage": "1Ti"}
# Takes an image's name and returns its ID; raises PullFailed; called in a thread.
PullImage = Callable[[str], str]


class _NotHereYet(Exception):
    """An image has to be asked for first."""


@dataclass
class _Place:
    """A pod on the node."""

    namespace: str
    name: str
    pod: Pod
    timer: asyncio.TimerHandle | None = None
    answers: dict[str, str | PullFailed] = field(default_factory=dict)
    pulling: set[str] = field(default_factory=set)


class Node:
    """The one node of a cluster."""

    def __init__(
        self,
        objects: Objects,
        loop: asyncio.AbstractEventLoop,
        pull: PullImage,
        threads: Executor,
        behaviour: Behaviour,
        name: str = "node-1",
    ) -> None:
        self.name = name
        self._objects = objects
        self._loop = loop
        self._pull_image = pull
        self._threads = threads
        self._behaviour = behaviour
        self._present: dict[str, str] = {}
        self._places: dict[str, _Place] = {}
        self._pod_kind: Resource = objects.resource("v1", "Pod")
        self._closed = False
        self._stop_listening = objects.store.listen(self._see)

    @property
    def behaviour(self) -> Behaviour:
        """How pods fare here."""
        return self._behaviour

    @behaviour.setter
    def behaviour(self, value: Behaviour) -> None:
        self._behaviour = value
        for uid in list(self._places):
            self._soon(uid)

    def join(self) -> None:
        """Become a node of the cluster that is ready."""
        labels = {"kubernetes.io/hostname": self.name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
        body = {"metadata": {"name": self.name, "labels": labels}, "status": {**_node_status(), "capacity": CAPACITY}}
        self._objects.create(self._objects.resource("v1", "Node"), "", body, CONTROLLER)

    def forget_images(self) -> None:
        """Have every image asked for again, as after a clean-up of the node's disk."""
        self._present.clear()

    def close(self) -> None:
        """Stop; the pods stay as they are."""
        self._closed = True
        self._stop_listening()
        for place in self._places.values():
            if place.timer:
                place.timer.cancel()

    def _see(self, change: Change) -> None:
        if change.key != PODS:
            return
        item = change.item
        metadata = item["metadata"]
        if change.kind == "DELETED":
            place = self._places.pop(metadata["uid"], None)
            if place and place.timer:
                place.timer.cancel()
        elif "deletionTimestamp" in metadata:
            if item["spec"].get("nodeName") == self.name and metadata.get("deletionGracePeriodSeconds"):
                self._loop.call_later(self._behaviour.stop_seconds, self._end, metadata)
        elif not item["spec"].get("nodeName"):
            self._loop.call_soon(self._bind, metadata)
        elif item["spec"]["nodeName"] == self.name and metadata["uid"] not in self._places:
            phase = (item.get("status") or {}).get("phase")
            if phase not in ("Running", "Succeeded", "Failed"):
                place = _Place(metadata["namespace"], metadata["name"], Pod.of(item, now()))
                self._places[metadata["uid"]] = place
                self._soon(metadata["uid"])

    def _bind(self, metadata: Json) -> None:
        try:
            bind(self._objects, self._pod_kind, metadata["namespace"], metadata["name"], self.name)
        except ApiError as error:
            log.debug("bind pod: %s", error)  # it is gone, or somebody else bound it

    def _end(self, metadata: Json) -> None:
        options = Options(grace_seconds=0, uid=metadata["uid"])
        try:
            delete(self._objects, self._pod_kind, metadata["namespace"], metadata["name"], options)
        except ApiError as error:
            log.debug("end pod: %s", error)  # it is gone already

    def _soon(self, uid: str) -> None:
        self._loop.call_soon(self._step, uid)

    def _step(self, uid: str) -> None:
        """Let a pod go on, write down where it is, and come back when the next thing is due."""
        place = self._places.get(uid)
        if place is None or self._closed:
            return
        clock = self._loop.time()
        pod, how = place.pod, self._behaviour

        def pull(spec: Json) -> str:
            return self._pull(uid, place, spec)

        try:
            pod.advance(pull, how, clock)
        except _NotHereYet:
            self._write(place, pod.status(how, clock, now()))
            return
        self._write(place, pod.status(how, clock, now()))
        self._tell_failures(uid, place)
        due = pod.due(how, self._loop.time())
        if place.timer:
            place.timer.cancel()
        place.timer = self._loop.call_at(due + 0.001, self._step, uid) if due is not None else None

    def _pull(self, uid: str, place: _Place, spec: Json) -> str:
        image, name = str(spec["image"]), str(spec["name"])
        answer = place.answers.pop(name, None)
        if isinstance(answer, PullFailed):
            raise answer
        if answer is not None:
            self._present[image] = answer
            return answer
        # As a node does: what was pulled once stays, unless the pod wants it asked for every time.
        if image in self._present and spec.get("imagePullPolicy") != "Always":
            return self._present[image]
        if name not in place.pulling:
            place.pulling.add(name)
            asked = self._loop.run_in_executor(self._threads, self._ask, image)
            asked.add_done_callback(lambda done: self._pulled(uid, place, name, done))
        raise _NotHereYet

    def _ask(self, image: str) -> str | PullFailed:
        try:
            return self._pull_image(image)
        except PullFailed as error:
            return error

    def _pulled(self, uid: str, place: _Place, name: str, done: asyncio.Future[str | PullFailed]) -> None:
        place.pulling.discard(name)
        if not done.cancelled():
            place.answers[name] = done.result()
            self._step(uid)

    def _write(self, place: _Place, status: Json) -> None:
        live = self._objects.store.get(PODS, place.namespace, place.name)
        if live is None or status == place.pod.written:
            return
        place.pod.written = status
        self._objects.write_status(live, {**(live.get("status") or {}), **status}, tracked=False)

    def _tell_failures(self, uid: str, place: _Place) -> None:
        for container in (*place.pod.init, *place.pod.main):
            if container.reason == "ErrImagePull" and not container.told:
                container.told = True
                self._tell(uid, place, container)

    def _tell(self, uid: str, place: _Place, container: Container) -> None:
        """Write an Event as the kubelet does."""
        path = "initContainers" if container in place.pod.init else "containers"
        about = {
            "kind": "Pod", "namespace": place.namespace, "name": place.name, "uid": uid, "apiVersion": "v1",
            "fieldPath": f"spec.{path}{{{container.name}}}",
        }  # fmt: skip
        event = {
            "metadata": {"generateName": f"{place.name}."},
            "involvedObject": about,
            "type": "Warning",
            "reason": "Failed",
            "message": f'Failed to pull image "{container.spec["image"]}": {container.message}',
            "source": {"component": "kubelet", "host": self.name},
            "firstTimestamp": now(),
            "lastTimestamp": now(),
            "count": 1,
        }
        try:
            self._objects.create(self._objects.resource("v1", "Event"), place.namespace, event, QUIET)
        except ApiError as error:
            log.debug("write event: %s", error)  # the namespace is on its way out


def _node_status() -> Json:
    words = {"lastHeartbeatTime": now(), "lastTransitionTime": now()}
    ready = {
        "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status",
    }  # fmt: skip
    addresses = [{"type": "InternalIP", "address": "127.0.0.1"}]
    about = {
        "kubeletVersion": "v1.20.2", "containerRuntimeVersion": "containerd://1.4.3", "osImage": "simulated",
        "architecture": "amd64", "operatingSystem": "linux", "bootID": "", "kernelVersion": "", "kubeProxyVersion": "",
        "machineID": "", "systemUUID": "",
    }  # fmt: skip
    return {"conditions": [{**ready, **words}], "allocatable": CAPACITY, "addresses": addresses, "nodeInfo": about}
