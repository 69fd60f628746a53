"""The workplace of a run: bundle, site, clusters and registry, each opened on first use and closed at the end."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from compass.bundle.definition import Role
from compass.bundle.open import Bundle, open_bundle
from compass.clock import Clock, system_clock
from compass.cluster.client import ClusterClient
from compass.documents import Document
from compass.errors import InvalidInput
from compass.images.registry.client import Registry
from compass.images.registry.credentials import Credentials, find_credentials
from compass.job import Job
from compass.progress import Progress, Silent
from compass.site import clusters
from compass.site.access import Access, read_access
from compass.site.cluster_api import secret_access, secret_ref
from compass.site.settings import RegistryPlace, SiteFiles, home_kubeconfig, registry_place
from compass.store import StateDirectory

_CLUSTER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.@_-]{0,252}")


class Target(Document):
    """One cluster to work on; ``problem`` is why it cannot be reached, as far as that is known beforehand."""

    name: str
    role: Role
    endpoint: str = ""
    control_endpoint: str = ""
    problem: str = ""


class Workplace:
    """Everything that the steps of one job need; may be used from several threads."""

    def __init__(
        self, job: Job, environ: Mapping[str, str], clock: Clock | None = None, progress: Progress | None = None
    ) -> None:
        self.job = job
        self.environ = environ
        self.clock = clock or system_clock()
        self.progress: Progress = progress or Silent()
        self._clients: dict[str, ClusterClient] = {}
        self._lock = threading.RLock()

    def __enter__(self) -> Workplace:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        if "registry" in self.__dict__:
            self.registry.close()

    @cached_property
    def state(self) -> StateDirectory:
        """The state directory; it is made by what first writes to it."""
        return StateDirectory(Path(self.job.where.state_dir).expanduser().absolute())

    @cached_property
    def bundle(self) -> Bundle:
        """The bundle, unpacked first where it is a compressed archive."""
        return open_bundle(Path(self.job.bundle).expanduser(), self.state.bundles, self.progress)

    @cached_property
    def site_files(self) -> SiteFiles:
        """The site's folder: the one that was named, else where the old scripts looked, else where one stands."""
        if named := self.job.where.site:
            return SiteFiles(Path(named).expanduser())
        return SiteFiles(self.bundle.legacy_site if self.job.bundle else Path.cwd())

    @cached_property
    def registry_place(self) -> RegistryPlace:
        """The site registry's address."""
        return registry_place(self.job.where, self.site_files)

    @cached_property
    def registry(self) -> Registry:
        """The connection to the site registry."""
        place = self.registry_place
        fallback = Credentials(place.username, place.password) if place.password else None
        return Registry(
            place.host,
            scheme=place.scheme,
            credentials=find_credentials(place.host, self.environ, Path.home(), fallback),
            ca_file=place.ca_file,
            patience_seconds=self.job.choices.patience_seconds,
            connections=self.job.choices.registry_concurrency,
        )

    @cached_property
    def home_access(self) -> Access:
        """How to reach the cluster that the kubeconfig names: the control cluster, or the only one."""
        where = self.job.where
        access = read_access(home_kubeconfig(where, self.site_files), where.context)
        return self._managed_access(access, where.cluster_api) if where.cluster_api else access

    def _managed_access(self, manager: Access, place: str) -> Access:
        """Return what Cluster API keeps for a cluster in the one that manages it."""
        ref = secret_ref(place)
        with ClusterClient(manager, self.job.choices.patience_seconds) as client:
            return secret_access(client.get(ref), f"{ref} on {manager.where}")

    @property
    def home(self) -> ClusterClient:
        """The connection to that cluster."""
        return self._connect("", lambda: self.home_access)

    @cached_property
    def cluster_objects(self) -> dict[str, dict[str, Any]]:
        """The Cluster objects of the control cluster by name; they hold credentials and stay in memory.

        Raises:
            InvalidInput: the cluster has no such kind though it is a site's.
        """
        if not self.home.serves(clusters.API_VERSION, clusters.KIND):
            raise InvalidInput(
                "find clusters on", self.home.where, found=f"no kind {clusters.API_VERSION} {clusters.KIND}",
                expected="a control cluster", do="pass --role user to upgrade this cluster alone",
            )  # fmt: skip
        return {x["metadata"]["name"]: x for x in self.home.list_all(clusters.API_VERSION, clusters.KIND)}

    @cached_property
    def targets(self) -> tuple[Target, ...]:
        """The clusters to work on, the control cluster first.

        Raises:
            InvalidInput: none is found, or one that was asked for is not there.
        """
        where = self.job.where
        if where.role or (where.kubeconfig and not self.home.serves(clusters.API_VERSION, clusters.KIND)):
            return (self._lone_target(where.role or "user"),)
        members = clusters.read_members(list(self.cluster_objects.values()), self.home.where)
        control = members[0].endpoint
        found = [
            Target(name=x.name, role=x.role, endpoint=x.endpoint, control_endpoint=control, problem=x.problem)
            for x in members
        ]
        missing = sorted(set(where.clusters) - {x.name for x in found})
        if missing:
            there = ", ".join(x.name for x in found)
            raise InvalidInput("find cluster", missing[0], found="no such Cluster object", expected=f"one of: {there}")
        return tuple(x for x in found if not where.clusters or x.name in where.clusters)

    def _lone_target(self, role: Role) -> Target:
        names = self.job.where.clusters
        if len(names) > 1:
            raise InvalidInput(
                "find clusters", ", ".join(names), found="a kubeconfig of one cluster", expected="one name"
            )
        if names and not _CLUSTER_NAME.fullmatch(names[0]):  # it names a folder of backups
            raise InvalidInput(
                "read option", f"--cluster {names[0]!r}", expected="letters, digits, '.', '@', '_' and '-'"
            )
        name = names[0] if names else re.sub(r"[^A-Za-z0-9.@_-]+", "-", self.home_access.name).strip(".-")
        host = urlsplit(self.home_access.server).hostname or ""
        control = host if role == "control" else ""
        return Target(name=name or "cluster", role=role, endpoint=host, control_endpoint=control)

    def target(self, name: str) -> Target:
        """Return one of the targets by name.

        Raises:
            InvalidInput: there is none.
        """
        for target in self.targets:
            if target.name == name:
                return target
        raise InvalidInput("find cluster", name, expected=f"one of: {', '.join(x.name for x in self.targets)}")

    def client(self, target: Target) -> ClusterClient:
        """Return the connection to a target.

        Raises:
            InvalidInput: its Cluster object has no usable address or credentials.
        """
        if target.role == "control" or self._is_lone(target):
            return self.home
        return self._connect(target.name, lambda: self._access(target))

    def _is_lone(self, target: Target) -> bool:
        if self.job.where.role or not self.home.serves(clusters.API_VERSION, clusters.KIND):
            return True
        return target.name not in self.cluster_objects

    def _access(self, target: Target) -> Access:
        item = self.cluster_objects[target.name]
        template = self.bundle.kubeconfig_template if self.job.bundle else None
        return clusters.member_access(item, template, self.home.where)

    def _connect(self, key: str, access: Callable[[], Access]) -> ClusterClient:
        with self._lock:
            if key not in self._clients:
                self._clients[key] = ClusterClient(access(), self.job.choices.patience_seconds)
            return self._clients[key]

    def unverified(self, target: Target) -> bool:
        """Tell whether a target's certificate is not checked, because its Cluster object carries no authority."""
        if target.role == "control" or self._is_lone(target):
            return self.home_access.skip_tls_verify
        return self._access(target).skip_tls_verify
