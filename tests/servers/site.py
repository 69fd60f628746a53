"""A whole site for the tests: a control cluster, user clusters, a registry, and something that runs their pods."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rehearsal.kubelet import ApiServer, SimulatedKubelet
from rehearsal.pods import Behaviour
from rehearsal.pulling import ImageSource
from tests.material.bundles import old_images, site_folder
from tests.material.clusters import populate
from tests.material.push import push
from tests.servers.control_plane import ControlPlane
from tests.servers.registry import DockerRegistry

# A user cluster has no am-master to wait for.
WITHOUT_MASTER = Behaviour(endless_init=frozenset({"check-master"}))


def simulated_kubelet(
    plane: ControlPlane, *registries: DockerRegistry, behaviour: Behaviour | None = None
) -> SimulatedKubelet:
    """Return a simulated kubelet, not yet started, for a control plane; its pods pull from ``registries``."""
    api = ApiServer(plane.url, plane.token, plane.ca_pem.decode())
    images = ImageSource(
        {x.host: x.url for x in registries},
        {x.host: (x.login.user, x.login.password) for x in registries if x.login},
        "".join(x.ca_file.read_text() for x in registries if x.tls),
    )
    return SimulatedKubelet(api, images, behaviour=behaviour)


@dataclass(frozen=True)
class Site:
    """A populated site; ``folder`` has ``.install-env.sh`` and ``.kubectl.kubeconfig`` as an installer leaves them."""

    control: ControlPlane
    users: dict[str, ControlPlane]
    registry: DockerRegistry
    kubelets: dict[str, SimulatedKubelet]
    folder: Path
    _stack: ExitStack

    @classmethod
    def start(
        cls,
        make_plane: Callable[[], ControlPlane],
        registry: DockerRegistry,
        folder: Path,
        *,
        users: tuple[str, ...] = ("user-1", "user-2"),
        releases: int = 10,
    ) -> Self:
        """Start the clusters side by side and fill them; a kubelet's ``behaviour`` may be changed while it runs."""
        with ThreadPoolExecutor() as pool:
            control, *others = pool.map(lambda _: make_plane(), range(len(users) + 1))
        planes = dict(zip(users, others, strict=True))
        for spec in old_images():
            push(registry, spec)
        with ExitStack() as stack:
            kubelets = {"control": stack.enter_context(simulated_kubelet(control, registry))}
            for name, plane in planes.items():
                kubelets[name] = stack.enter_context(simulated_kubelet(plane, registry, behaviour=WITHOUT_MASTER))
            populate(control, planes, releases=releases, registry=registry.host)
            return cls(
                control, planes, registry, kubelets, site_folder(folder, control, registry.host), stack.pop_all()
            )

    @property
    def clusters(self) -> dict[str, ControlPlane]:
        """Every cluster by the name of its Cluster object, the control cluster first."""
        return {"control": self.control, **self.users}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the simulated kubelets and the clusters; the registry belongs to whoever made it."""
        self._stack.close()
        for plane in self.clusters.values():
            plane.close()
