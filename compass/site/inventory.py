"""The inventory: the clusters that an operator has, how to reach each, and when what is done to it."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dateutil.rrule import rrulestr
from pydantic import Field, field_validator, model_validator

from compass.bundle.definition import Name, Role
from compass.documents import Document, load_yaml, parse_document, read_text
from compass.job import Choices, Where

Verb = Literal["backup", "upgrade", "check", "remove"]


class Schedule(Document):
    """When a verb runs: a recurrence (RFC 5545, RRULE) of local times in a time zone (IANA)."""

    rrule: str
    timezone: str
    active: bool = True

    @field_validator("rrule")
    @classmethod
    def _fires_for_ever(cls, text: str) -> str:
        # Prefect anchors a rule without DTSTART in 2020 and ignores a rule's own zone: what depends on either is wrong.
        wrong = re.search(r"DTSTART|COUNT|UNTIL|EXDATE|TZID|INTERVAL", text.upper())
        if wrong:
            raise ValueError(f"{wrong[0]} does not mean in Prefect what it says; use BY… parts")
        try:
            rrulestr(text, dtstart=datetime(2020, 1, 1))  # only its syntax is looked at
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"no RRULE: {error}") from None
        return text

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, text: str) -> str:
        try:
            ZoneInfo(text)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"unknown time zone {text!r}") from None
        return text


class InventoryCluster(Document):
    """One cluster; ``object`` is the name of its Cluster object where that differs from ``name``.

    With ``kubeconfig`` it is reached directly; without, through the site's control cluster.
    """

    name: Name
    role: Role
    object: Name | None = None
    kubeconfig: str | None = None
    context: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    schedules: dict[Verb, Schedule] = Field(default_factory=dict)
    choices: Choices = Choices()

    @model_validator(mode="after")
    def _makes_sense(self) -> InventoryCluster:
        if self.context and not self.kubeconfig:
            raise ValueError("context without kubeconfig")
        if self.role == "user" and "remove" in self.schedules:
            raise ValueError("remove is for control clusters: they hold the Releases")
        return self

    @property
    def verbs(self) -> tuple[Verb, ...]:
        """What can be done to it."""
        every: tuple[Verb, ...] = ("backup", "upgrade", "check", "remove")
        return every if self.role == "control" else every[:3]


class InventorySite(Document):
    """One site: ``directory`` has ``.install-env.sh`` and ``.kubectl.kubeconfig``; ``registry`` overrides its own."""

    name: Name
    directory: str
    registry: str | None = None
    registry_ca: str | None = Field(default=None, alias="registryCA")
    clusters: tuple[InventoryCluster, ...]


class Inventory(Document):
    """A whole inventory; paths are those of the machines that the workers run on."""

    api_version: Literal["compass.upgrade/v1"] = Field(alias="apiVersion")
    kind: Literal["Inventory"]
    bundle: str
    state_dir: str = Field(alias="stateDir")
    work_pool: str = Field(alias="workPool")
    sites: tuple[InventorySite, ...]

    @model_validator(mode="before")
    @classmethod
    def _holds_no_template(cls, value: Any) -> Any:
        # In prefect.yaml braces are Prefect's: it would put variables, or a secret block, into a parameter.
        todo = [value]
        while todo:
            here = todo.pop()
            todo += (
                list(here.values()) + list(here) if isinstance(here, dict) else here if isinstance(here, list) else []
            )
            if isinstance(here, str) and "{{" in here:
                raise ValueError(f"{here[:60]!r} holds '{{{{', which Prefect would replace")
        return value

    @model_validator(mode="after")
    def _names_are_unique(self) -> Inventory:
        for what, names in (
            ("site", [x.name for x in self.sites]),
            ("cluster", [y.name for x in self.sites for y in x.clusters]),
        ):
            twice = sorted(name for name, count in Counter(names).items() if count > 1)
            if twice:
                raise ValueError(f"{what} {twice[0]!r} given twice")
        return self

    def where(self, site: InventorySite, cluster: InventoryCluster) -> Where:
        """Return how to reach a cluster, as a flow's parameter: paths and names only."""
        return Where(
            site=site.directory,
            kubeconfig=cluster.kubeconfig,
            context=cluster.context,
            role=cluster.role if cluster.kubeconfig else None,
            registry=site.registry,
            registry_ca=site.registry_ca,
            state_dir=self.state_dir,
        )


def read_inventory(path: Path) -> Inventory:
    """Return the inventory at ``path``.

    Raises:
        InvalidInput: absent, no YAML, or something in it is wrong; the place is named.
    """
    return parse_document(Inventory, load_yaml(read_text(path, "inventory"), str(path)), str(path))
