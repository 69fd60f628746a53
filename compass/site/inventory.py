"""The inventory: the clusters that an operator has, how to reach each, and when what is done to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from compass.bundle.definition import Name, Role
from compass.documents import Document, load_yaml, parse_document, read_text
from compass.errors import InvalidInput
from compass.job import Choices, Where
from compass.site.cluster_api import secret_ref
from compass.window.model import Freeze, RuleText, Window
from compass.window.openings import Calendar, refuse_all_frozen

Verb = Literal["backup", "upgrade", "check", "remove"]
Source = Literal["clusterObjects", "clusterAPI"]
VERBS: tuple[Verb, ...] = ("backup", "upgrade", "check", "remove")
CHANGING: frozenset[Verb] = frozenset({"upgrade", "remove"})
_SECRET = re.compile(
    r"passw|passphrase|pwd|secret|token|credential|auth(?!or)|(private|api|ssh|cert|access|signing)[_-]?key",
    re.IGNORECASE,
)
_USER_INFO = re.compile(r"://[^/@\s]*:[^/@\s]+@")


class Schedule(Window):
    """When a verb that changes nothing runs: at the times of a rule, whatever the windows say."""

    rrule: RuleText
    duration: Literal["1s"] = "1s"
    end: None = None


class Timed(Document):
    """What may say when clusters are changed: windows, freezes, and the verbs that start when a window opens."""

    windows: tuple[Window, ...] = ()
    freezes: tuple[Freeze, ...] = ()
    at_opening: tuple[Verb, ...] = Field(default=(), alias="atOpening")


class ByLabel(Timed):
    """The same for every cluster that has all of these labels."""

    labels: dict[str, str] = Field(min_length=1)


class InventoryCluster(Timed):
    """One cluster; ``object`` is the name of its Cluster object where that differs from ``name``.

    With ``kubeconfig`` it is reached directly; with ``clusterAPI``, which is ``namespace/name``, by the Secret that
    Cluster API keeps in the cluster of the site's kubeconfig; with neither, through the site's control cluster.
    """

    name: Name
    role: Role
    object: Name | None = None
    kubeconfig: str | None = None
    context: str | None = None
    cluster_api: str | None = Field(default=None, alias="clusterAPI")
    labels: dict[str, str] = Field(default_factory=dict)
    schedules: dict[Verb, Schedule] = Field(default_factory=dict)
    choices: Choices = Field(default_factory=Choices)

    @field_validator("choices")
    @classmethod
    def _refers_to_secrets(cls, choices: Choices) -> Choices:
        for name, value in choices.values.items():
            # Prefect keeps parameters in clear.  The value is not shown: it may be what it should not be.
            if _SECRET.search(name) and not value.startswith("@"):
                raise ValueError(f"value {name!r} looks like a secret: give @/path/of/a/file")
            if value.startswith("@") and not value.startswith("@/"):
                raise ValueError(f"value {name!r}: expected the whole path of a file, @/…")
        return choices

    @model_validator(mode="after")
    def _makes_sense(self) -> InventoryCluster:
        if self.context and not self.kubeconfig:
            raise ValueError("context without kubeconfig")
        if self.cluster_api is not None:
            if self.kubeconfig or self.object:
                raise ValueError("clusterAPI beside kubeconfig or object: say one way to reach it")
            try:
                secret_ref(self.cluster_api)
            except InvalidInput as error:
                raise ValueError(str(error).removeprefix("read ")) from None
        if self.role == "user" and "remove" in (*self.schedules, *self.at_opening):
            raise ValueError("remove is for control clusters: they hold the Releases")
        changing = sorted(CHANGING & self.schedules.keys())
        if changing:
            raise ValueError(f"schedules.{changing[0]}: what changes a cluster starts in its windows; write atOpening")
        return self

    @property
    def verbs(self) -> tuple[Verb, ...]:
        """What can be done to it."""
        return VERBS if self.role == "control" else VERBS[:3]


class InventorySite(Timed):
    """One site: ``directory`` has ``.install-env.sh`` and ``.kubectl.kubeconfig``; ``registry`` overrides its own.

    ``discover`` adds the clusters that its control cluster knows and that are not declared here.
    """

    name: Name
    directory: str
    registry: str | None = None
    registry_ca: str | None = Field(default=None, alias="registryCA")
    work_pool: str | None = Field(default=None, alias="workPool", min_length=1)
    discover: tuple[Source, ...] = ()
    clusters: tuple[InventoryCluster, ...] = ()

    @model_validator(mode="after")
    def _has_clusters(self) -> InventorySite:
        if not self.clusters and not self.discover:
            raise ValueError("clusters: expected one at least, or discover")
        return self


class Inventory(Timed):
    """A whole inventory; paths are those of the machines that the workers run on.

    ``name`` tells the deployments of one inventory from those of another one on the same Prefect server.
    """

    api_version: Literal["compass.upgrade/v1"] = Field(alias="apiVersion")
    kind: Literal["Inventory"]
    name: Name = "default"
    bundle: str
    state_dir: str = Field(alias="stateDir")
    work_pool: str = Field(alias="workPool", min_length=1)
    by_label: tuple[ByLabel, ...] = Field(default=(), alias="byLabel")
    sites: tuple[InventorySite, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _holds_no_template_and_no_password(cls, value: Any) -> Any:
        todo = [value]
        while todo:
            here = todo.pop()
            if isinstance(here, dict):
                todo += [*here.values(), *here]
            elif isinstance(here, list):
                todo += here
            elif isinstance(here, str):
                # In prefect.yaml braces are Prefect's: it would put variables, or a secret block, into a parameter.
                if "{{" in here:
                    raise ValueError(f"{here[:60]!r} holds '{{{{', which Prefect would replace")
                if _USER_INFO.search(here):
                    raise ValueError("an address holds a password, which Prefect would keep in clear")
        return value

    @model_validator(mode="after")
    def _names_are_unique(self) -> Inventory:
        sites = ((f"sites.{n}", x.name) for n, x in enumerate(self.sites))
        clusters = (
            (f"sites.{n}.clusters.{m}", y.name) for n, x in enumerate(self.sites) for m, y in enumerate(x.clusters)
        )
        for what, names in (("site", sites), ("cluster", clusters)):
            seen: dict[str, str] = {}
            for place, name in names:
                if name in seen:
                    raise ValueError(f"{place}: {what} {name!r} given twice, first at {seen[name]}")
                seen[name] = place
        return self

    @model_validator(mode="after")
    def _what_starts_in_windows_has_some(self) -> Inventory:
        if problem := self.opening_without_window():
            raise ValueError(problem)
        return self

    def opening_without_window(self) -> str:
        """Return which cluster is to start at an opening and has no window; empty when all have one."""
        for site, cluster in self.each():
            verbs = self.at_opening_of(site, cluster)
            if verbs and not self.calendar(site, cluster).windows:
                return f"cluster {cluster.name!r}: {verbs[0]} is to start at an opening, but it has no window"
        return ""

    def each(self) -> Iterator[tuple[InventorySite, InventoryCluster]]:
        """Yield every cluster with its site, in the order of the file."""
        return ((site, cluster) for site in self.sites for cluster in site.clusters)

    def find(self, name: str, where: str) -> tuple[InventorySite, InventoryCluster]:
        """Return a cluster by its name, with its site; ``where`` names the file in errors.

        Raises:
            InvalidInput: there is none.
        """
        for site, cluster in self.each():
            if cluster.name == name:
                return site, cluster
        names = ", ".join(x.name for _, x in self.each())
        raise InvalidInput("find cluster", f"{name} in {where}", expected=f"one of: {names[:400]}")

    def calendar(self, site: InventorySite, cluster: InventoryCluster) -> Calendar:
        """Return all windows and freezes of a cluster: the inventory's, its labels', its site's and its own."""
        levels = self._levels(site, cluster)
        return Calendar(
            windows=tuple(dict.fromkeys(x for level in levels for x in level.windows)),
            freezes=tuple(dict.fromkeys(x for level in levels for x in level.freezes)),
        )

    def at_opening_of(self, site: InventorySite, cluster: InventoryCluster) -> tuple[Verb, ...]:
        """Return the verbs that start when a window of a cluster opens, of those that can be done to it."""
        named = {verb for level in self._levels(site, cluster) for verb in level.at_opening}
        return tuple(x for x in cluster.verbs if x in named)

    def work_pool_of(self, site: InventorySite) -> str:
        """Return the work pool whose workers reach a site."""
        return site.work_pool or self.work_pool

    def where(self, site: InventorySite, cluster: InventoryCluster) -> Where:
        """Return how to reach a cluster, as a flow's parameter: paths and names only."""
        return Where(
            site=site.directory,
            kubeconfig=cluster.kubeconfig,
            context=cluster.context,
            cluster_api=cluster.cluster_api,
            role=cluster.role if cluster.kubeconfig or cluster.cluster_api else None,
            registry=site.registry,
            registry_ca=site.registry_ca,
            state_dir=self.state_dir,
        )

    def _levels(self, site: InventorySite, cluster: InventoryCluster) -> tuple[Timed, ...]:
        labelled = (x for x in self.by_label if x.labels.items() <= cluster.labels.items())
        return (self, *labelled, site, cluster)


def read_inventory(path: Path) -> Inventory:
    """Return the inventory at ``path``.

    Raises:
        InvalidInput: absent, no YAML, or something in it is wrong; the place is named.
    """
    return parse_document(Inventory, load_yaml(_text(path), str(path)), str(path))


def _text(path: Path) -> str:
    try:
        return read_text(path, "inventory")
    except InvalidInput as error:
        raise InvalidInput(error.did, error.subject, found=error.found, expected=error.expected,
                           do="pass --inventory with its file") from None  # fmt: skip


def refuse_never_open(inventory: Inventory, now: datetime, where: str) -> None:
    """Check that each cluster that is to start at openings has some in the year to come; ``where`` names the file.

    Raises:
        InvalidInput: one that was found has no window, or each time that windows of one would open, they are frozen.
    """
    if problem := inventory.opening_without_window():
        raise InvalidInput("read", where, found=problem, do="give its site a window, or declare the cluster with one")
    looked_at: set[Calendar] = set()
    for site, cluster in inventory.each():
        calendar = inventory.calendar(site, cluster)
        if calendar not in looked_at:
            looked_at.add(calendar)
            refuse_all_frozen(calendar, now, f"{where}: cluster {cluster.name}")
