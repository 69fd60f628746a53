"""The pods of a simulated node: what starts when, and how a kubelet would write it down."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from compass.names import ImageName
from rehearsal.pulling import PullFailed

Json = dict[str, Any]
# Takes a container's spec and returns the image ID; raises PullFailed.
Pull = Callable[[Json], str]


@dataclass(frozen=True)
class Behaviour:
    """How pods fare on the node.

    ``crashing`` and ``unready`` name images as ``ImageName.short`` prints them (``am_minion:v0.0.7``),
    ``endless_init`` init containers that never end, as a wait for something that is not there.  A container
    that crashes is started again after ``back_off_seconds``, ``most_restarts`` times.
    """

    start_seconds: float = 0.2
    back_off_seconds: float = 2.0
    most_restarts: int = 10
    stop_seconds: float = 0.05
    crashing: frozenset[str] = frozenset()
    unready: frozenset[str] = frozenset()
    endless_init: frozenset[str] = frozenset()


@dataclass
class Container:
    """One container of a pod as the node sees it; times are seconds of the node's clock."""

    spec: Json
    image_id: str = ""
    started: float | None = None
    reason: str = ""
    message: str = ""
    try_at: float = 0.0
    told: bool = False

    @property
    def name(self) -> str:
        """The name in the pod."""
        return str(self.spec["name"])

    def due(self, how: Behaviour, now: float) -> float | None:
        """Return when something will change by itself, ``None`` when nothing will."""
        if self.started is None:
            # Between two tries it is said to back off.
            return self.try_at - how.back_off_seconds / 2 if self.reason == "ErrImagePull" else self.try_at
        up = self.started + how.start_seconds
        if now < up or not self.crashes(how):
            return up if now < up else None
        restarts = self.restarts(how, now)
        return up + restarts * how.back_off_seconds if restarts < how.most_restarts else None

    def crashes(self, how: Behaviour) -> bool:
        """Tell whether it ends by itself, and badly."""
        return ImageName.parse(self.spec["image"]).short in how.crashing

    def restarts(self, how: Behaviour, now: float) -> int:
        """Return how often it has crashed."""
        since = now - (self.started if self.started is not None else now) - how.start_seconds
        return min(1 + int(since / how.back_off_seconds), how.most_restarts) if since >= 0 else 0

    def advance(self, pull: Pull, now: float, back_off_seconds: float) -> None:
        """Ask for the image when it is time to, and start with it."""
        if self.started is not None:
            return
        if now < self.try_at:
            self.reason, self.message = "ImagePullBackOff", f'Back-off pulling image "{self.spec["image"]}"'
            return
        try:
            self.image_id = pull(self.spec)
        except PullFailed as error:
            self.reason, self.message, self.try_at = "ErrImagePull", str(error), now + back_off_seconds
        else:
            self.started, self.reason = now, ""


@dataclass
class Pod:
    """One pod on the node."""

    init: list[Container]
    main: list[Container]
    keeps_running: bool
    since: str
    address: str
    ready_since: str = ""
    written: Json = field(default_factory=dict)
    never_again: bool = False

    @classmethod
    def of(cls, manifest: Json, now: str) -> Pod:
        """Return the pod of a manifest, nothing of it started."""
        spec = manifest["spec"]
        init = [Container(x) for x in spec.get("initContainers") or []]
        keeps_running = spec.get("restartPolicy", "Always") == "Always"
        main = [Container(x) for x in spec["containers"]]
        never_again = spec.get("restartPolicy") == "Never"
        return cls(init, main, keeps_running, now, _address(manifest), never_again=never_again)

    def advance(self, pull: Pull, how: Behaviour, now: float) -> None:
        """Go one step on: init containers one after the other, then all others."""
        for container in self.init:
            container.advance(pull, now, how.back_off_seconds)
            if not _ended(container, how, now):
                return
        for container in self.main:
            container.advance(pull, now, how.back_off_seconds)

    def due(self, how: Behaviour, now: float) -> float | None:
        """Return when something will change by itself, ``None`` when nothing will."""
        for container in self.init:
            if not _ended(container, how, now):
                return container.due(how, now)
        return min((x for y in self.main if (x := y.due(how, now)) is not None), default=None)

    def status(self, how: Behaviour, now: float, clock: str) -> Json:
        """Return the pod's status as a kubelet writes it."""
        init = [_init_status(x, how, now, self.since) for x in self.init]
        initialized = all(_ended(x, how, now) for x in self.init)
        main = [self._main_status(x, how, now) for x in self.main]
        ready = initialized and all(x["ready"] for x in main)
        self.ready_since = (self.ready_since or clock) if ready else ""
        done = bool(main) and all("terminated" in x["state"] for x in main)
        running = initialized and any("running" in x["state"] or x.get("lastState") for x in main)
        truths = {"Initialized": initialized, "Ready": ready, "ContainersReady": ready, "PodScheduled": True}
        return {
            "phase": _final_phase(main) if done else "Running" if running else "Pending",
            "conditions": [
                {"type": kind, "status": str(truth), "lastTransitionTime": self.ready_since or self.since}
                for kind, truth in truths.items()
            ],
            "hostIP": "127.0.0.1",
            "podIP": self.address,
            "startTime": self.since,
            "containerStatuses": main,
            **({"initContainerStatuses": init} if init else {}),
        }

    def _main_status(self, container: Container, how: Behaviour, now: float) -> Json:
        status = _status_of(container)
        if container.started is None or now - container.started < how.start_seconds:
            return status
        short = ImageName.parse(container.spec["image"]).short
        if short in how.crashing:
            restarts = container.restarts(how, now)
            end = {"exitCode": 1, "reason": "Error", "startedAt": self.since, "finishedAt": self.since}
            message = f"back-off 10s restarting failed container={container.name}"
            if self.never_again:
                return {**status, "state": {"terminated": end}}
            waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
            return {
                **status, "state": waiting, "lastState": {"terminated": end}, "restartCount": restarts,
                "started": False,
            }  # fmt: skip
        if not self.keeps_running:
            return {**status, "state": _completed(self.since)}
        running = {"running": {"startedAt": self.since}}
        return {**status, "state": running, "ready": short not in how.unready, "started": True}


def _final_phase(statuses: list[Json]) -> str:
    """Return how a pod ended all of whose containers have."""
    return "Failed" if any(x["state"]["terminated"]["exitCode"] for x in statuses) else "Succeeded"


def _address(manifest: Json) -> str:
    """Return an address that nobody answers at; one of the loopback is refused in a Service's Endpoints."""
    one, two = hashlib.sha256(manifest["metadata"]["uid"].encode()).digest()[:2]
    return f"10.88.{one}.{two}"


def _ended(container: Container, how: Behaviour, now: float) -> bool:
    """Tell whether an init container has done its work."""
    if container.started is None or container.name in how.endless_init:
        return False
    return now - container.started >= how.start_seconds


def _init_status(container: Container, how: Behaviour, now: float, since: str) -> Json:
    status = _status_of(container)
    if _ended(container, how, now):
        return {**status, "state": _completed(since), "ready": True}
    if container.started is not None:
        return {**status, "state": {"running": {"startedAt": since}}, "started": True}
    return status


def _status_of(container: Container) -> Json:
    waiting = {"reason": container.reason or "ContainerCreating"}
    if container.reason:
        waiting["message"] = container.message
    return {
        "name": container.name,
        "image": container.spec["image"],
        "imageID": container.image_id,
        "ready": False,
        "started": False,
        "restartCount": 0,
        "state": {"waiting": waiting},
    }


def _completed(since: str) -> Json:
    return {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": since, "finishedAt": since}}
