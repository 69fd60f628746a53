"""The Prefect server: which deployments it has, and the calls that change them one by one.

Deploying a whole deployment anew would wake what an operator has paused and forget its switched-off schedules; so only
what differs is sent, and schedules are added and removed singly.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

import prefect
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowFilter,
    FlowFilterId,
    FlowFilterName,
)
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions, DeploymentSchedule, Flow
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import RRuleSchedule
from prefect.client.schemas.sorting import DeploymentSort
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import PREFECT_API_URL
from prefect.utilities.callables import parameter_schema

from compass.errors import CompassError, InvalidInput, StepFailed, Transient
from compass.window.schedule import Schedule
from deployments import watch
from deployments.changes import Change, Found, FoundSchedule
from deployments.wanted import FLOWS, MADE_BY, Wanted

PAGE = 200
T = TypeVar("T")


def schemas() -> dict[str, dict[str, Any]]:
    """Return what the parameters of our flows look like, by entrypoint, as the server keeps it."""
    return {
        x.entrypoint: _plain(parameter_schema(load_flow_from_entrypoint(x.entrypoint)).model_dump())
        for x in FLOWS.values()
    }


@contextmanager
def connect() -> Iterator[Server]:
    """Give the server that PREFECT_API_URL names, once it has answered and is of our major version.

    Raises:
        InvalidInput: no server is named, it does not answer, takes us for nobody, or is of another major version.
    """
    address = PREFECT_API_URL.value()
    if not address:
        raise InvalidInput("find the Prefect server", found="no PREFECT_API_URL", expected="http://host:4200/api")
    with get_client(sync_client=True) as client:
        server = Server(client, _without_password(address))
        try:
            server.refuse_another_version()
        except (Transient, StepFailed) as error:  # nothing has begun: the address is wrong, as far as anybody knows
            raise InvalidInput(error.did, error.subject, found=error.found, expected="a Prefect server that answers",
                               do=error.do) from None  # fmt: skip
        yield server


class Server:
    """A Prefect server that answers.

    Every call raises ``Transient`` where it does not any more, ``StepFailed`` where it refuses.
    """

    def __init__(self, client: SyncPrefectClient, address: str) -> None:
        self._client, self.address = client, address

    def refuse_another_version(self) -> None:
        """Check that we speak the same language.

        Raises:
            InvalidInput: the server is of another major version.
        """
        version: object = self._ask("ask version of", self.address, self._client.api_version)
        ours = prefect.__version__
        if not isinstance(version, str):
            raise InvalidInput("use Prefect server", self.address, found="an answer that is none of Prefect's",
                               expected="http://host:4200/api as PREFECT_API_URL")  # fmt: skip
        if version.partition(".")[0] != ours.partition(".")[0]:
            raise InvalidInput("use Prefect server", self.address, found=f"version {version}",
                               expected=f"the major version of {ours}")  # fmt: skip

    def refuse_without_pool(self, name: str, where: str) -> None:
        """Check that there is a work pool; ``where`` is the file and place that name it.

        Raises:
            InvalidInput: there is none of this name.
        """
        try:
            self._ask("read work pool", name, partial(self._client.read_work_pool, name))
        except ObjectNotFound:
            raise InvalidInput(
                "read", where, found=f"no work pool {name!r} on {self.address}",
                do=f"make it with: prefect work-pool create {name} --type process",
            ) from None  # fmt: skip

    def deployments(self) -> list[Found]:
        """Return every deployment of our flows, and whatever else this tool made."""
        tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=[MADE_BY]))
        named = FlowFilter(name=FlowFilterName(any_=[x.name for x in FLOWS.values()]))
        flows: dict[UUID, Flow] = {}
        either: tuple[dict[str, Any], ...] = ({"deployment_filter": tagged}, {"flow_filter": named})
        for words in either:
            for page in self._pages("list flows", self._client.read_flows, **words):
                flows |= {x.id: x for x in page}
        found = []
        for flow in flows.values():
            # A name is unique within its flow only, so pages sorted by name hold still for one flow at a time.
            only = FlowFilter(id=FlowFilterId(any_=[flow.id]))
            sorted_words: dict[str, Any] = {"flow_filter": only, "sort": DeploymentSort.NAME_ASC}
            for page in self._pages("list deployments", self._client.read_deployments, **sorted_words):
                found += [_found(x, flow.name) for x in page]
        return found

    def make(self, change: Change, schema: Mapping[str, Any]) -> None:
        """Do what a change says; doing it again does no harm."""
        if change.action == "create" and change.wanted:
            self._create(change.wanted, schema)
        elif change.action == "update" and change.wanted and change.found:
            self._update(change, change.wanted, change.found, schema)
        elif change.action == "delete" and change.found:
            self._delete(change.found)

    def keep_watch(self, *, check: bool) -> dict[str, watch.Answer]:
        """Let the server end runs that died with their worker, or with ``check`` say what would be done for it."""
        return self._ask("keep automations of", self.address, partial(watch.keep_watch, self._client, check=check))

    def _create(self, wanted: Wanted, schema: Mapping[str, Any]) -> None:
        def create() -> None:
            self._client.create_deployment(
                flow_id=self._client.create_flow_from_name(wanted.flow.name), name=wanted.name,
                description=wanted.description, tags=list(wanted.tags), entrypoint=wanted.flow.entrypoint,
                parameters=wanted.parameters, parameter_openapi_schema=dict(schema), enforce_parameter_schema=True,
                work_pool_name=wanted.work_pool, schedules=[_schedule(x) for x in wanted.schedules],
                concurrency_limit=wanted.concurrency_limit, concurrency_options=_options(wanted),
                pull_steps=[],
            )  # fmt: skip

        self._ask("create deployment", wanted.full_name, create)

    def _update(self, change: Change, wanted: Wanted, found: Found, schema: Mapping[str, Any]) -> None:
        here = UUID(found.id)
        if set(change.differs) - {"schedules"}:
            update = DeploymentUpdate(
                description=wanted.description, tags=list(wanted.tags), entrypoint=wanted.flow.entrypoint,
                parameters=wanted.parameters, parameter_openapi_schema=dict(schema), enforce_parameter_schema=True,
                work_pool_name=wanted.work_pool, concurrency_limit=wanted.concurrency_limit,
                concurrency_options=_options(wanted), pull_steps=[],
            )  # fmt: skip
            self._ask_there("update deployment", wanted, partial(self._client.update_deployment, here, update))
        if change.add:
            # Added before the old ones go: killed in between, the next deploy takes the old ones away.
            new = [_schedule(x, active=change.active) for x in change.add]
            self._ask_there("schedule", wanted, partial(self._client.create_deployment_schedules, here, new))
        for old in change.remove:
            self._unschedule(wanted, here, old.id)
        if change.add:
            self._remove_doubles(wanted, here)

    def _unschedule(self, wanted: Wanted, here: UUID, schedule: str) -> None:
        delete = partial(self._client.delete_deployment_schedule, here, UUID(schedule))
        with suppress(ObjectNotFound):  # somebody else who deploys did it
            self._ask("remove a schedule of", wanted.full_name, delete)

    def _remove_doubles(self, wanted: Wanted, here: UUID) -> None:
        """Leave each rule once where somebody else who deploys has added it too; both leave the same one."""
        read = partial(self._client.read_deployment_schedules, here)
        there = [_found_schedule(x) for x in self._ask_there("read schedules of", wanted, read)]
        kept: set[Schedule | None] = set()
        for each in sorted(there, key=lambda x: x.id):
            if each.rule in wanted.schedules and each.rule in kept:
                self._unschedule(wanted, here, each.id)
            kept.add(each.rule)

    def _ask_there(self, did: str, wanted: Wanted, call: Callable[[], T]) -> T:
        """Ask something of a deployment that may have been deleted since it was looked at."""
        try:
            return self._ask(did, wanted.full_name, call)
        except ObjectNotFound:
            raise Transient(did, wanted.full_name, found="somebody has deleted it meanwhile",
                            do="give the same command again") from None  # fmt: skip

    def _delete(self, found: Found) -> None:
        # A deployment's schedules and the runs that they planned go with it.
        try:
            self._ask("delete deployment", found.full_name, partial(self._client.delete_deployment, UUID(found.id)))
        except ObjectNotFound:
            return

    def _pages(self, did: str, read: Callable[..., list[Any]], **words: Any) -> Iterator[list[Any]]:
        offset = 0
        while True:
            page = self._ask(did, self.address, partial(read, **words, limit=PAGE, offset=offset))
            yield page
            offset += len(page)
            if len(page) < PAGE:
                return

    def _ask(self, did: str, subject: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except (CompassError, ObjectNotFound):
            raise
        except PrefectHTTPStatusError as error:
            status = error.response.status_code
            if status in (401, 403):
                raise InvalidInput(did, subject, found=f"{self.address} does not let us in (status {status})",
                                   do="set PREFECT_API_AUTH_STRING to what the server has") from None  # fmt: skip
            kind = Transient if status in (429, 502, 503, 504) else StepFailed
            raise kind(did, subject, found=f"{self.address} answers {status}: {error.response.text[:300]}") from None
        except Exception as error:  # noqa: BLE001  (httpx's, of a connection; or what an answer not Prefect's leads to)
            why = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            raise Transient(did, subject, found=f"{self.address} does not answer as Prefect does ({why})",
                            do="see whether the Prefect server runs, and whether PREFECT_API_URL is its address",
                            ) from None  # fmt: skip


def _without_password(address: str) -> str:
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _found(there: DeploymentResponse, flow: str) -> Found:
    limit, options = there.global_concurrency_limit, there.concurrency_options
    fields = {
        "description": there.description,
        "tags": sorted(there.tags),
        "entrypoint": there.entrypoint,
        "parameters": there.parameters,
        "parameter schema": _plain(there.parameter_openapi_schema),
        "work pool": there.work_pool_name,
        "concurrency limit": limit.limit if limit else None,
        "collision strategy": options.collision_strategy.value if options else None,
    }
    schedules = tuple(_found_schedule(x) for x in there.schedules)
    return Found(str(there.id), flow, there.name, tuple(there.tags), fields, schedules, there.paused)


def _found_schedule(there: DeploymentSchedule) -> FoundSchedule:
    rule = None
    if isinstance(there.schedule, RRuleSchedule) and not there.parameters:
        rule = Schedule(rrule=there.schedule.rrule, timezone=there.schedule.timezone or "UTC")
    return FoundSchedule(str(there.id), rule, there.active)


def _schedule(schedule: Schedule, *, active: bool = True) -> DeploymentScheduleCreate:
    return DeploymentScheduleCreate(
        schedule=RRuleSchedule(rrule=schedule.rrule, timezone=schedule.timezone), active=active
    )


def _options(wanted: Wanted) -> ConcurrencyOptions:
    return ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy(wanted.collision_strategy))


def _plain(value: Any) -> dict[str, Any]:
    """Return a value as it comes back from JSON."""
    found: dict[str, Any] = json.loads(json.dumps(value or {}))
    return found
