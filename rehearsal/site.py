"""A simulated site: a registry, a control cluster and user clusters, filled with an earlier version of everything."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, Self

from compass.documents import dump_yaml
from rehearsal.api.store import Change
from rehearsal.clusters import Settings, SimulatedCluster, SimulatedClusters
from rehearsal.example import objects
from rehearsal.example.bundle import PREVIOUS_IMAGES
from rehearsal.example.images import push, small_image
from rehearsal.example.restored import restored_objects
from rehearsal.pods import Behaviour
from rehearsal.pulling import ImageSource
from rehearsal.registry import BrokenUpload, NoConnection, SimulatedRegistry, Unavailable

Json = dict[str, Any]
Trouble = Literal["image", "rollout", "registry", "apiserver", "kill"]
CONTROL = "control"
FIELD_MANAGER = "compass-upgrade"
AWAY_SECONDS = 12.0
_CRASHING = Behaviour(back_off_seconds=0.5, crashing=frozenset({"am_minion:v0.0.7"}))


class SimulatedSite:
    """A whole site on this machine; ``folder`` has ``.install-env.sh`` and ``.kubectl.kubeconfig`` as a real one.

    ``from_backup`` is a backup whose objects the control cluster gets instead of the example's.
    """

    def __init__(
        self, folder: Path, users: Sequence[str], from_backup: Path | None = None, trouble: Trouble | None = None
    ) -> None:
        self.folder = folder
        self.users = tuple(users)
        self._trouble = trouble
        self._from_backup = from_backup
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.registry = stack.enter_context(SimulatedRegistry(self.folder / "registry"))
            source = ImageSource({self.registry.host: self.registry.url})
            behaviours = {self.users[0]: _CRASHING} if self._trouble == "rollout" else {}
            names = [CONTROL, *self.users]
            clusters = SimulatedClusters(names, source.pull, Settings(behaviours=behaviours))
            self.clusters = stack.enter_context(clusters)
            self._fill()
            self._write_files()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _fill(self) -> None:
        for path in PREVIOUS_IMAGES:
            push(self.registry.url, small_image(path))
        control = self.clusters[CONTROL]
        control.create(*objects.definitions())
        if self._from_backup:
            for item in restored_objects(self._from_backup, self.registry.host, self.registry.url):
                self._restore(control, item)
        else:
            control.create(*objects.releases(), *objects.control_components())
        for name in self.users:
            components = [objects.as_applied(x) for x in objects.user_components(self.registry.host)]
            self.clusters[name].create(*components, manager="kubectl-client-side-apply")
        for name, cluster in self.clusters.items():
            is_control = name == CONTROL
            access = None if is_control else cluster.kubeconfig()
            control.create(objects.cluster_object(name, access, cluster.endpoint, is_control=is_control))

    @staticmethod
    def _restore(cluster: SimulatedCluster, item: Json) -> None:
        namespace = item["metadata"].get("namespace")
        if namespace and not cluster.get("v1", "Namespace", "", namespace):
            cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        cluster.create(item)

    def _write_files(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / ".install-env.sh").write_text(f'export CARGO_CFG_DOMAIN="http://{self.registry.host}"\n')
        kubeconfig = self.folder / ".kubectl.kubeconfig"
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_text(dump_yaml(self.clusters[CONTROL].kubeconfig()))

    def kubeconfigs(self, folder: Path) -> dict[str, Path]:
        """Write a kubeconfig per cluster, for looking around, and return where each is."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = {}
        for name, cluster in self.clusters.items():
            found[name] = folder / f"{name}.kubeconfig"
            found[name].touch(mode=0o600)
            found[name].write_text(dump_yaml(cluster.kubeconfig()))
        return found

    @contextmanager
    def broken(self, kill: Callable[[], None], tell: Callable[[str], None]) -> Iterator[None]:
        """Let the trouble that was asked for happen while the block runs; ``kill`` ends the upgrade's process."""
        if self._trouble == "registry":
            tell(f"the registry answers 503 three times, breaks two uploads, and is then away for {AWAY_SECONDS:.0f} s")
            posts = frozenset({"POST"})
            self.registry.fault(Unavailable(503, retry_after_seconds=1, times=3, methods=posts))
            self.registry.fault(BrokenUpload(after_bytes=64, times=2))
        acts: dict[str, Callable[[], None]] = {
            "image": lambda: self._forget_image(tell),
            "registry": lambda: self.registry.fault(NoConnection(AWAY_SECONDS)),
            "apiserver": lambda: self._leave(self.users[0], tell),
            "kill": kill,
        }
        if self._trouble == "rollout":
            tell(f"am_minion:v0.0.7 will crash on {self.users[0]}, and there alone")
        act = acts.get(self._trouble or "")
        watcher = _FirstChange(act, at_once=self._trouble == "image") if act else None
        if watcher:
            for name in self.users:
                watcher.watch(self.clusters, name)
        try:
            yield
        finally:
            self.registry.heal()

    def _forget_image(self, tell: Callable[[str], None]) -> None:
        tell("the registry loses release/am_minion:v0.0.7, just after it was loaded")
        self.registry.forget_tag("release/am_minion", "v0.0.7")

    def _leave(self, name: str, tell: Callable[[str], None]) -> None:
        tell(f"the API server of {name} is away for {AWAY_SECONDS:.0f} s")
        self.clusters[name].unavailable(AWAY_SECONDS)


class _FirstChange:
    """Acts once, at the first change that an upgrade makes to a user cluster, beside its own Record.

    ``at_once`` holds the cluster up meanwhile, so that no pod is faster.
    """

    def __init__(self, act: Callable[[], None], *, at_once: bool) -> None:
        self._act, self._at_once = act, at_once
        self._lock = threading.Lock()
        self._acted = False

    def watch(self, clusters: SimulatedClusters, name: str) -> None:
        """Look at what happens to a cluster."""
        store = clusters[name].objects.store
        clusters.call(lambda: store.listen(self._see))

    def _see(self, change: Change) -> None:
        entries = change.item["metadata"].get("managedFields") or []
        ours = any(x.get("manager") == FIELD_MANAGER for x in entries)
        if not ours or change.item["metadata"]["name"] == FIELD_MANAGER:
            return
        with self._lock:
            if self._acted:
                return
            self._acted = True
        if self._at_once:
            self._act()
            return
        # This is the clusters' own thread: what takes one away must wait for it elsewhere.
        threading.Thread(target=self._act, name="trouble", daemon=True).start()
