"""Many simulated clusters in one process: one thread, one event loop, one port for each."""

from __future__ import annotations

import asyncio
import base64
import secrets
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from rehearsal.api.kinds import Resource
from rehearsal.api.objects import Objects, Write
from rehearsal.api.reviews import MASTERS, Rule, User, tokens
from rehearsal.api.server import ApiServer
from rehearsal.certificates import Authority, Pair
from rehearsal.controllers.manager import ControllerManager
from rehearsal.controllers.namespaces import ALWAYS
from rehearsal.controllers.node import Node, PullImage
from rehearsal.listening import ADDRESS, Listener, configuration
from rehearsal.pods import Behaviour
from rehearsal.pulling import PullFailed

Json = dict[str, Any]
T = TypeVar("T")
_PULLS_AT_ONCE = 8
# Of the roles that every cluster has from the start, those that people look at.
_EVERYTHING = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["*"]}]
_REVIEWS = {"apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
            "verbs": ["create"]}  # fmt: skip
_ROLES: tuple[Json, ...] = (
    {"metadata": {"name": "cluster-admin", "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}},
     "rules": _EVERYTHING},
    {"metadata": {"name": "system:basic-user", "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}},
     "rules": [_REVIEWS]},
)  # fmt: skip


def no_registry(image: str) -> str:
    """Pull nothing, as a node without a registry."""
    raise PullFailed(
        f'rpc error: code = Unknown desc = failed to pull and unpack image "{image}": no registry in this rehearsal'
    )


@dataclass(frozen=True)
class Settings:
    """How the clusters behave; ``behaviours`` are of single clusters by name, ``node`` says whether pods run."""

    behaviour: Behaviour = field(default_factory=Behaviour)
    behaviours: Mapping[str, Behaviour] = field(default_factory=dict)
    node: bool = True


class SimulatedCluster:
    """One cluster, as the calling thread sees it."""

    def __init__(self, owner: SimulatedClusters, name: str, behaviour: Behaviour) -> None:
        self._owner = owner
        self.name = name
        self.host = ADDRESS
        self.token = secrets.token_urlsafe(24)
        self.reader_token = secrets.token_urlsafe(24)
        self.ca_pem = owner.authority.cert_pem
        self.objects = Objects()
        self._access = tokens(self.token, self.reader_token)
        self._server = ApiServer(self.objects, self._access)
        self._listener = Listener(self._server, owner.config, owner.tls)
        self.port = self._listener.port
        self._server.host = self.endpoint
        self._manager = ControllerManager(self.objects, owner.loop, self.ca_pem)
        self._node: Node | None = None
        if owner.settings.node:
            self._node = Node(self.objects, owner.loop, owner.pull, owner.threads, behaviour)
        self._rejections: dict[str, str] = {}
        self.objects.webhooks.append(self._reject)

    @property
    def endpoint(self) -> str:
        """Address and port, as Cluster objects name them."""
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """Where the API server is."""
        return f"https://{self.endpoint}"

    def kubeconfig(self, namespace: str = "") -> Json:
        """Return an administrator's kubeconfig as a document."""
        cluster = {"server": self.url, "certificate-authority-data": base64.b64encode(self.ca_pem.encode()).decode()}
        user = f"{self.name}-admin"
        context = {"cluster": self.name, "user": user, **({"namespace": namespace} if namespace else {})}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": self.name, "cluster": cluster}],
            "users": [{"name": user, "user": {"token": self.token}}],
            "contexts": [{"name": self.name, "context": context}],
            "current-context": self.name,
        }

    def certificate(self, user: str = "admin", groups: Sequence[str] = (MASTERS,)) -> Pair:
        """Return a client certificate that the cluster takes for ``user``; every cluster of the site takes it."""
        return self._owner.authority.client(user, groups)

    def user(self, name: str, rule: Rule, groups: Sequence[str] = ()) -> str:
        """Make a user who may do what ``rule`` allows, and return the token."""
        token = secrets.token_urlsafe(24)

        def add() -> None:
            self._access.tokens[token] = User(name, tuple(groups))
            self._access.rules[name] = rule

        self._owner.call(add)
        return token

    # -- what it holds

    def create(self, *manifests: Json, manager: str = "rehearsal") -> list[Json]:
        """Create objects, without the way over HTTP; returns them as they are stored.

        Raises:
            ApiError: one is refused; those before it are there.
        """
        return self._owner.call(lambda: [self._create(x, manager) for x in manifests])

    def _create(self, manifest: Json, manager: str) -> Json:
        resource = self.objects.resource(manifest["apiVersion"], manifest["kind"])
        namespace = (manifest.get("metadata") or {}).get("namespace", "default") if resource.namespaced else ""
        made = self.objects.create(resource, namespace, manifest, Write(manager))
        if manifest.get("status") and "status" in resource.subresources:
            self.objects.write_status(made, manifest["status"])
        return made

    def get(self, api_version: str, kind: str, namespace: str, name: str) -> Json | None:
        """Return an object, ``None`` where there is none."""

        def find() -> Json | None:
            return self.objects.store.get(self.objects.resource(api_version, kind).key, namespace, name)

        return self._owner.call(find)

    def listed(self, api_version: str, kind: str, namespace: str = "") -> list[Json]:
        """Return all objects of a kind."""
        return self._owner.call(lambda: self.objects.store.all(self.objects.resource(api_version, kind).key, namespace))

    # -- trouble

    @property
    def behaviour(self) -> Behaviour:
        """How pods fare on the node; may be set while it runs."""
        return self._running_node().behaviour

    @behaviour.setter
    def behaviour(self, value: Behaviour) -> None:
        node = self._running_node()
        self._owner.call(lambda: setattr(node, "behaviour", value))

    def _running_node(self) -> Node:
        if self._node is None:
            raise LookupError(f"cluster {self.name} was made without a node")
        return self._node

    def unavailable(self, seconds: float | None = None) -> None:
        """Refuse and break connections, for a time or until ``available`` is called; the objects stay."""
        self._owner.wait(self._listener.stop())
        if seconds is not None:
            self._owner.later(seconds, self._listener.start)

    def available(self) -> None:
        """Take connections again."""
        self._owner.wait(self._listener.start())

    def reject(self, kind: str, message: str) -> None:
        """Refuse every object of a kind from now on, as an admission webhook does."""
        self._rejections[kind] = message

    def accept(self, kind: str) -> None:
        """Refuse a kind no more."""
        self._rejections.pop(kind, None)

    def expire(self) -> None:
        """Forget the past: every watch from an old version and every open list is too old, as after a compaction."""

        def forget() -> None:
            self.objects.store.compact()
            self._server.pages.forget()

        self._owner.call(forget)

    def forget_images(self) -> None:
        """Let the node ask for every image again."""
        if self._node:
            self._owner.call(self._node.forget_images)

    def _reject(self, resource: Resource, item: Json) -> str | None:
        return self._rejections.get(resource.kind)

    # -- on the loop's thread

    async def begin(self) -> None:
        """Furnish the cluster and take connections."""
        kind = self.objects.resource("v1", "Namespace")
        for name in ALWAYS:
            self.objects.create(kind, "", {"metadata": {"name": name}}, Write("kube-apiserver"))
        service = {"metadata": {"name": "kubernetes"}, "spec": {"ports": [{"name": "https", "port": 443}]}}
        self.objects.create(self.objects.resource("v1", "Service"), "default", service, Write("kube-apiserver"))
        roles = self.objects.resource("rbac.authorization.k8s.io/v1", "ClusterRole")
        for role in _ROLES:
            self.objects.create(roles, "", role, Write("kube-apiserver"))
        if self._node:
            self._node.join()
        await self._listener.start()

    async def end(self) -> None:
        """Stop everything."""
        if self._node:
            self._node.close()
        self._manager.close()
        await self._listener.stop()


class SimulatedClusters(Mapping[str, SimulatedCluster]):
    """The clusters of a site, by name; ``with`` starts and stops them.

    ``pull`` is how the nodes ask for an image (``rehearsal.pulling.ImageSource.pull``); without it no image is found.
    """

    def __init__(
        self, names: Iterable[str], pull: PullImage | None = None, settings: Settings | None = None
    ) -> None:  # fmt: skip
        self.settings = settings or Settings()
        self.pull = pull or no_registry
        self.authority = Authority()
        self.tls = self.authority.server_context()
        self.config = configuration()
        self.loop = asyncio.new_event_loop()
        self.threads = ThreadPoolExecutor(_PULLS_AT_ONCE, thread_name_prefix="pull")
        self._thread = threading.Thread(target=self._run, name="simulated clusters", daemon=True)
        self._pending: set[asyncio.Task[None]] = set()
        self._clusters: dict[str, SimulatedCluster] = {}
        for name in names:
            behaviour = self.settings.behaviours.get(name, self.settings.behaviour)
            self._clusters[name] = SimulatedCluster(self, name, behaviour)

    def __getitem__(self, name: str) -> SimulatedCluster:
        return self._clusters[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._clusters)

    def __len__(self) -> int:
        return len(self._clusters)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()

    def start(self) -> Self:
        """Start all clusters; they take connections when this returns."""
        self._thread.start()
        self.wait(self._begin())
        return self

    def close(self) -> None:
        """Stop all clusters and the thread."""
        if not self._thread.is_alive():
            return
        self.wait(self._end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.threads.shutdown(wait=False, cancel_futures=True)
        self.loop.close()

    def call(self, function: Callable[[], T]) -> T:
        """Call a function on the loop's thread and return what it returns."""

        async def run() -> T:
            return function()

        return self.wait(run())

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and return what it returns."""
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("called from the loop's own thread")
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def later(self, seconds: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine on the loop after a time."""

        def begin() -> None:
            self._pending.add(task := self.loop.create_task(work()))
            task.add_done_callback(self._pending.discard)

        self.loop.call_soon_threadsafe(lambda: self.loop.call_later(seconds, begin))

    async def _begin(self) -> None:
        for cluster in self._clusters.values():
            await cluster.begin()

    async def _end(self) -> None:
        for cluster in self._clusters.values():
            await cluster.end()
        # A moment for the connections to break and the answers under way to end.
        await asyncio.sleep(0.05)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
