"""Every task: tried again by error family alone, named by step and cluster, its artifact under a key of both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prefect import flow
from prefect.artifacts import Artifact
from prefect.testing.utilities import prefect_test_harness

from compass.errors import InvalidInput, Refused, StepFailed, Transient
from compass.steps.workplace import Target
from tasks import step as steps
from tasks.step import artifact_key, publish, step
from tasks.watching import LoggedProgress, watch, watcher

USER = Target(name="User_1", role="user")


pytestmark = pytest.mark.xdist_group("tasks")


@pytest.fixture(scope="module")
def prefect() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait between tries; the condition is what is looked at."""
    monkeypatch.setattr(steps, "RETRY_DELAYS_SECONDS", [0.0])


@pytest.mark.prefect
@pytest.mark.usefixtures("prefect", "at_once")
@pytest.mark.parametrize(
    ("error", "tries"), [(Transient, 2), (InvalidInput, 1), (Refused, 1), (StepFailed, 1), (RuntimeError, 1)]
)
def test_only_what_may_pass_by_itself_is_tried_again(error: type[Exception], tries: int) -> None:
    counted: list[int] = []

    @step("fail")
    def failing(target: Target) -> None:
        counted.append(1)
        raise error("ask")

    @flow
    def run() -> None:
        failing(USER)

    with pytest.raises(error):
        run()
    assert len(counted) == tries


@pytest.mark.prefect
@pytest.mark.usefixtures("prefect")
def test_a_task_run_is_named_by_step_and_cluster_and_publishes_its_artifact() -> None:
    named: list[str] = []

    @step("wait")
    def waiting(target: Target) -> int:
        from prefect.runtime import task_run

        named.append(str(task_run.name))
        publish(f"wait-{target.name}", "## Waited", "waited for 3 objects")
        return 3

    @flow
    def run() -> int:
        return waiting(USER)

    assert run() == 3
    assert named == ["wait User_1"]
    found = Artifact.get("wait-user-1")
    assert found
    assert (found.data, found.description) == ("## Waited", "waited for 3 objects")


@pytest.mark.parametrize(("text", "key"), [("plan-User_1", "plan-user-1"), ("a@b.c", "a-b-c"), ("集群", "step")])
def test_an_artifact_key_has_only_what_prefect_allows(text: str, key: str) -> None:
    assert artifact_key(text) == key


def test_progress_without_a_watcher_is_a_line_per_quarter() -> None:
    lines: list[str] = []
    progress = watcher("", lines.append)
    assert isinstance(progress, LoggedProgress)
    progress.begin("load", 100, "bytes")
    for _ in range(100):
        progress.advance("load", 1)
    assert lines == [f"load: {done} of 100 bytes" for done in (25, 50, 75, 100)]


def test_progress_goes_to_who_watches_until_it_stops() -> None:
    watched, logged = LoggedProgress(lambda _: None), [].append  # type: ignore[var-annotated]
    watch(lambda label: watched)
    try:
        assert watcher("user-1", logged) is watched
    finally:
        watch(None)
    assert watcher("user-1", logged) is not watched
