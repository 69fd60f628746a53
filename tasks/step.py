"""What every task shares: retries by error family, no cache, a place to work in, an artifact."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from prefect import Task, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.logging import get_run_logger

from compass.errors import Transient
from compass.job import Job
from compass.progress import Progress
from compass.steps.workplace import Workplace
from tasks.watching import watcher

RETRY_DELAYS_SECONDS = [10.0]  # the doors have asked again for 90 s by then
P = ParamSpec("P")
R = TypeVar("R")


def is_transient(_task: Task[Any, Any], _run: TaskRun, state: State[Any]) -> bool:
    """Tell Prefect whether to try again: only what may pass by itself."""
    return isinstance(state.result(raise_on_failure=False), Transient)


def step(name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a function a task named after its step; a run is called by step and cluster.

    A result is never stored or reused: that a step was done shows on the cluster and in the registry alone.
    """

    def decorate(function: Callable[P, R]) -> Task[P, R]:
        takes_target = "target" in function.__annotations__
        return task(
            name=name,
            task_run_name=f"{name} {{target.name}}" if takes_target else name,
            retries=len(RETRY_DELAYS_SECONDS),
            retry_delay_seconds=RETRY_DELAYS_SECONDS,
            retry_jitter_factor=0.3,
            retry_condition_fn=is_transient,
            cache_policy=NO_CACHE,
            persist_result=False,
        )(function)

    return decorate


@contextmanager
def workplace(job: Job, label: str = "") -> Iterator[Workplace]:
    """Give a place to work in; ``label`` tells whose progress it is where several clusters go side by side."""
    with Workplace(job, os.environ, progress=progress(label)) as place:
        yield place


def progress(label: str) -> Progress:
    """Return who is told of progress: whoever watches this process, else the run's log."""
    return watcher(label, get_run_logger().info)


def publish(key: str, text: str, line: str) -> None:
    """Log one line and publish an artifact whose key is made of step and cluster."""
    get_run_logger().info(line)
    create_markdown_artifact(markdown=text, key=artifact_key(key), description=line)


def artifact_key(text: str) -> str:
    """Return text as an artifact's key: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "step"
