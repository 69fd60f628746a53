"""A rehearsal is the real command line on a simulated site, and ends as a real run would."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.running import COMMAND, Desk, Ended
from tests.servers.process import wait_until

pytestmark = [pytest.mark.prefect, pytest.mark.xdist_group("rehearse")]
LINES = ["am_minion:v0.0.7", "release-controller:v0.2.10", "templates:v1.2.14"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    folder = tmp_path_factory.mktemp("rehearse")
    return Desk(folder / "desk", folder / "prefect")


def rehearse(place: Desk, *words: str) -> Ended:
    done = subprocess.run(
        [COMMAND, "rehearse", *words], cwd=place.folder, env=place.environment(), capture_output=True, text=True,
        timeout=240, check=False,
    )  # fmt: skip
    assert list(place.temporary.glob("compass-rehearsal-*")) == [], "it left something behind"
    return Ended(("rehearse", *words), done.returncode, done.stdout, done.stderr)


def states(done: Ended) -> list[str]:
    """The last row of the summary: how each cluster came out."""
    table = done.out.partition("\nstep ")[2].splitlines()
    row = next(line for line in reversed(table) if re.match(r"\s+(upgraded|unchanged|failed|rolled|not)", line))
    return re.split(r"\s{2,}", row.strip())


def test_a_site_is_upgraded_in_one_command(place: Desk) -> None:
    done = rehearse(place)
    assert done.status == 0, done.err
    assert [x for x in LINES if x not in done.out] == []
    assert states(done) == ["upgraded", "upgraded", "upgraded"]
    for step in ("preflight", "plan", "backup", "apply", "wait", "check", "record", "remove"):
        assert re.search(rf"^{step} ", done.out, re.MULTILINE), step


def test_an_image_that_is_gone_is_named_and_nothing_obsolete_is_removed(place: Desk) -> None:
    done = rehearse(place, "--break", "image")
    assert done.status == 5
    assert states(done) == ["upgraded", "rolled back", "rolled back"]
    assert "ImagePull" in done.out
    assert "release/am_minion:v0.0.7: not found" in done.out
    assert "not as before" not in done.out
    assert "nothing was removed, because not every cluster came out well" in done.err


def test_a_rollout_that_never_ends_well_stays_with_its_cluster(place: Desk) -> None:
    done = rehearse(place, "--break", "rollout")
    assert done.status == 5
    assert states(done) == ["upgraded", "rolled back", "upgraded"]
    assert "user-1: roll out Deployment/kube-system/am-minion" in done.out
    assert "CrashLoopBackOff" in done.out


def test_a_registry_that_stumbles_only_delays(place: Desk) -> None:
    done = rehearse(place, "--break", "registry", "--clusters", "1")
    assert done.status == 0, done.err
    assert states(done) == ["upgraded", "upgraded"]


def test_an_api_server_that_goes_away_only_delays(place: Desk) -> None:
    done = rehearse(place, "--break", "apiserver", "--clusters", "1")
    assert done.status == 0, done.err
    assert "the API server of user-1 is away" in done.err
    assert states(done) == ["upgraded", "upgraded"]


def test_a_killed_upgrade_is_ended_by_the_same_command(place: Desk) -> None:
    done = rehearse(place, "--break", "kill", "--clusters", "1")
    assert done.status == 0, done.err
    assert "kill -9" in done.err
    assert [x for x in LINES if x not in done.out] == []
    assert not re.search(r"\bfailed\b", " ".join(states(done)))


@pytest.fixture
def kept(place: Desk) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [COMMAND, "rehearse", "--keep"], cwd=place.folder, env=place.environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, process_group=0,
    )  # fmt: skip
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_kept_site_is_there_for_kubectl_until_it_is_interrupted(kept: subprocess.Popen[str], place: Desk) -> None:
    assert kept.stdout
    commands: dict[str, str] = {}
    for line in kept.stdout:
        found = re.match(r"(\S+): \S+kubectl --kubeconfig (\S+)", line)
        if found:
            commands[found[1]] = found[2]
        if "until Ctrl-C" in line:
            break
    assert set(commands) == {"control", "user-1", "user-2"}
    words = ["--kubeconfig", commands["user-1"], "-n", "kube-system", "get", "deploy", "am-minion", "-o", "name"]
    got = subprocess.run([COMMAND.with_name("kubectl"), *words], capture_output=True, text=True, check=True)
    assert got.stdout.strip() == "deployment.apps/am-minion"
    kept.send_signal(signal.SIGINT)
    wait_until("the rehearsal to end", lambda: kept.poll() is not None, 30)
    assert kept.returncode == 0
    assert list(place.temporary.glob("compass-rehearsal-*")) == []


def test_a_backup_fills_the_control_cluster(place: Desk, tmp_path: Path) -> None:
    index = '{"files": [{"file": "release_backup/default/mine.yaml"}]}'
    (tmp_path / "release_backup" / "default").mkdir(parents=True)
    (tmp_path / "index.json").write_text(index)
    (tmp_path / "release_backup" / "default" / "mine.yaml").write_text(
        "apiVersion: release.caicloud.io/v1alpha1\nkind: Release\n"
        "metadata: {name: mine, namespace: default, uid: old, resourceVersion: '7'}\n"
        "spec: {containers: [{name: a, image: 'cargo.example:5000/release/mine:v1'}]}\n"
    )
    done = rehearse(place, "--from-backup", str(tmp_path), "--clusters", "1")
    assert done.status == 0, done.err
    assert "Release/default/old-console (not there)" in done.out


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--clusters", "0"), "--clusters: 0, expected 1 to"),
        (("/nowhere/bundle.tar",), "/nowhere/bundle.tar: no such file"),
        (("--from-backup", "/nowhere"), "/nowhere/index.json"),
        (("--break", "everything"), "--break"),
    ],
)
def test_wrong_input_ends_with_two_before_anything_is_started(place: Desk, words: tuple[str, ...], error: str) -> None:
    done = rehearse(place, *words)
    assert done.status == 2
    assert error in done.error
