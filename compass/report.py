"""What a run ends with: values for machines, made into text elsewhere."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Literal

from pydantic import Field

from compass import stopping
from compass.clock import Clock, iso, stamp
from compass.documents import Document
from compass.errors import CompassError, exit_status
from compass.steps.images import ImageResult
from compass.steps.prepare import Prepared
from compass.steps.record import who

StepState = Literal["done", "skipped", "failed"]
ClusterState = Literal["upgraded", "unchanged", "failed", "rolled back", "restored", "not started"]


class StepReport(Document):
    """One step of one cluster: what it did, a line per object, and how long it took."""

    name: str
    state: StepState
    seconds: float
    lines: tuple[str, ...] = ()


class ClusterReport(Document):
    """How one cluster came out; ``not_as_before`` names each object that a failed run leaves changed."""

    cluster: str
    role: str
    state: ClusterState
    steps: tuple[StepReport, ...] = ()
    counts: dict[str, int] = Field(default_factory=dict)
    backup: str = ""
    problem: str = ""
    exit_status: int = 0
    warnings: tuple[str, ...] = ()
    not_as_before: tuple[str, ...] = ()
    bytes_sent: int = 0


class RunReport(Document):
    """How a run came out over all its clusters."""

    verb: str
    bundle: str
    version: str
    digest: str
    by: str
    started: str
    finished: str
    state: Literal["done", "unchanged", "failed"]
    images: tuple[ImageResult, ...] = ()
    clusters: tuple[ClusterReport, ...] = ()


def report_of(
    verb: str, prepared: Prepared, started: datetime, finished: datetime, clusters: Sequence[ClusterReport],
    images: Sequence[ImageResult] = (), *, failed: bool,
) -> RunReport:  # fmt: skip
    """Return the report of what a verb did to one cluster or several."""
    changed = any(x.bytes_sent for x in images) or any(x.state == "upgraded" for x in clusters)
    return RunReport(
        verb=verb, bundle=prepared.name, version=prepared.version, digest=prepared.digest, by=who(),
        started=iso(started), finished=iso(finished), state="failed" if failed else "done" if changed else "unchanged",
        images=tuple(images), clusters=tuple(clusters),
    )  # fmt: skip


class Journal:
    """Collects what happens to one cluster while it happens."""

    def __init__(self, cluster: str, role: str, clock: Clock, run: str = "") -> None:
        self.cluster, self.role = cluster, role
        self.run = run or run_name(clock.now())
        self._clock = clock
        self._steps: list[StepReport] = []
        self.backup = ""
        self.counts: dict[str, int] = {}
        self.warnings: list[str] = []
        self.bytes_sent = 0
        self.not_as_before: tuple[str, ...] = ()
        self.guard: Callable[[], None] = lambda: None

    @property
    def seconds(self) -> dict[str, float]:
        """How long each finished step took."""
        return {x.name: round(x.seconds, 2) for x in self._steps}

    @property
    def current(self) -> str:
        """The name of the last step."""
        return self._steps[-1].name if self._steps else ""

    @contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Time a step; it fills the list that it is given with a line per object.

        Nothing begins once somebody asked to stop, or against what ``guard`` says.
        """
        stopping.refuse(f"step {name} of cluster {self.cluster}")
        self.guard()
        lines: list[str] = []
        began = self._clock.monotonic()
        state: StepState = "failed"
        try:
            yield lines
            state = "done"
        finally:
            taken = round(self._clock.monotonic() - began, 2)
            self._steps.append(StepReport(name=name, state=state, seconds=taken, lines=tuple(lines)))

    def note(self, name: str, state: StepState, seconds: float, lines: Sequence[str]) -> None:
        """Add a step that was timed elsewhere."""
        self._steps.append(StepReport(name=name, state=state, seconds=round(seconds, 2), lines=tuple(lines)))

    def skip(self, name: str, why: str) -> None:
        """Note a step that was not needed."""
        self._steps.append(StepReport(name=name, state="skipped", seconds=0.0, lines=(why,)))

    def close(
        self, state: ClusterState, error: CompassError | None = None, not_as_before: Sequence[str] = ()
    ) -> ClusterReport:
        """Return the report."""
        return ClusterReport(
            cluster=self.cluster,
            role=self.role,
            state=state,
            steps=tuple(self._steps),
            counts=self.counts,
            backup=self.backup,
            problem=str(error) if error else "",
            exit_status=exit_status(error) if error else 0,
            warnings=tuple(self.warnings),
            not_as_before=tuple(not_as_before) or self.not_as_before,
            bytes_sent=self.bytes_sent,
        )


def now_text(clock: Clock) -> str:
    """Return the present moment as reports have it."""
    return iso(clock.now())


def run_name(moment: datetime, verb: str = "upgrade") -> str:
    """Return what a run and its report are called; two of one second differ."""
    return f"{stamp(moment)}-{verb}-{secrets.token_hex(2)}"
