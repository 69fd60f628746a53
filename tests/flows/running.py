"""Run ``compass-upgrade`` as a person does: the installed command in a process of its own, and see what it touched."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, TextIO

import pytest

from tests.material.bundles import site_folder
from tests.material.clusters import CLUSTER_API, RELEASE_API, path_of
from tests.servers.control_plane import ControlPlane
from tests.servers.process import wait_until
from tests.servers.registry import DockerRegistry
from tests.servers.site import Site

COMMAND = Path(sys.executable).with_name("compass-upgrade")
LONGEST_SECONDS = 240
# What an upgrade may change; Nodes, Pods and Events change by themselves.
KINDS = (
    ("v1", "Service"), ("v1", "ConfigMap"), ("v1", "Secret"), ("v1", "ServiceAccount"), ("v1", "Namespace"),
    ("v1", "PersistentVolumeClaim"), ("apps/v1", "Deployment"), ("apps/v1", "DaemonSet"), ("apps/v1", "ReplicaSet"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"), ("coordination.k8s.io/v1", "Lease"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"), (RELEASE_API, "Release"), (CLUSTER_API, "Cluster"),
)  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How the command ended; ``error`` is what it said on standard error from the word ``error:`` on."""

    words: tuple[str, ...]
    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The error, checked to be one or two lines."""
        _, mark, text = self.err.partition("error: ")
        lines = text.strip().splitlines()
        assert mark, f"no error on standard error: {self.err!r} {self.out!r}"
        assert len(lines) <= 2, f"not one or two lines: {lines}"
        assert "Traceback" not in self.err
        return "\n".join(lines)


class Desk:
    """Where the command is run from: home, temporary folder and state directory are private to one test."""

    def __init__(self, folder: Path, prefect_home: Path, environ: Mapping[str, str] | None = None) -> None:
        self._environ = dict(environ or {})
        self.folder = folder
        self.state = folder / "state"
        self.temporary = folder / "tmp"
        self.home = folder / "home"
        self.prefect_home = prefect_home
        self._started: list[subprocess.Popen[str]] = []
        self.temporary.mkdir(parents=True)
        self.home.mkdir()

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the variables that the command sees; nobody's registry password is among them."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
        own = {"HOME": str(self.home), "TMPDIR": str(self.temporary), "PREFECT_HOME": str(self.prefect_home)}
        return {**kept, **own, **self._environ, **(more or {})}

    def start(self, *words: object, environ: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start the command with a state directory of the desk's own."""
        given = [str(x) for x in words]
        if "--state-dir" not in given and given and not given[0].startswith("-"):
            given += ["--state-dir", str(self.state)]
        process = subprocess.Popen(
            [str(COMMAND), *given],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=self.environment(environ),
            process_group=0,
        )
        self._started.append(process)
        return process

    def close(self) -> None:
        """End what a test that failed has left running, with everything that it started."""
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def run(
        self, *words: object, environ: Mapping[str, str] | None = None, longest_seconds: float = LONGEST_SECONDS
    ) -> Ended:  # fmt: skip
        """Run the command to its end."""
        return ended(self.start(*words, environ=environ), longest_seconds)


def ended(process: subprocess.Popen[str], longest_seconds: float = LONGEST_SECONDS) -> Ended:
    """Wait for a command and return how it ended."""
    try:
        out, err = process.communicate(timeout=longest_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"it did not end within {longest_seconds} s: {out}\n{err}")
    return Ended(tuple(map(str, process.args)), process.returncode, out, err)  # type: ignore[arg-type]


class Watched:
    """A command that runs while a test looks on; what it says is read as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._parts: dict[str, list[str]] = {"out": [], "err": []}
        streams = {"out": process.stdout, "err": process.stderr}
        self._readers = [Thread(target=self._read, args=(name, x), daemon=True) for name, x in streams.items()]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, stream: TextIO) -> None:
        for line in stream:
            self._parts[name].append(line)

    @property
    def running(self) -> bool:
        """Tell whether it has not ended."""
        return self._process.poll() is None

    def said(self, text: str) -> bool:
        """Tell whether it has said something on standard error."""
        return any(text in line for line in self._parts["err"])

    def wait_until(self, what: str, condition: Callable[[], object]) -> None:
        """Wait for something while it runs."""
        wait_until(what, lambda: condition() or not self.running, LONGEST_SECONDS, 0.01)
        assert self.running, f"it ended before {what}: {self.end()}"

    def end(self) -> Ended:
        """Wait for its end and return how it ended."""
        try:
            status = self._process.wait(LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        for reader in self._readers:
            reader.join()
        words = tuple(map(str, self._process.args))  # type: ignore[arg-type]
        return Ended(words, status, *("".join(x) for x in self._parts.values()))


@dataclass(frozen=True)
class Case:
    """A desk, a site, and a folder of site files of the test's own that it may spoil."""

    desk: Desk
    site: Site
    files: Path

    @classmethod
    def at(cls, desk: Desk, site: Site) -> Case:
        """Return the case with whole site files."""
        files = site_folder(desk.folder / "site", site.control, f"http://{site.registry.host}")
        return cls(desk, site, files)

    @property
    def registry(self) -> str:
        """The site's registry as ``--registry`` wants it."""
        return site_registry(self.site.registry)

    def log_in(self) -> None:
        """Give the desk's user the registry's password, as ``docker login`` does."""
        login = self.site.registry.login
        assert login
        auth = base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
        config = self.desk.home / ".docker" / "config.json"
        config.parent.mkdir()
        config.touch(mode=0o600)
        config.write_text(json.dumps({"auths": {self.site.registry.host: {"auth": auth}}}))

    def where(self) -> list[str]:
        """Return the options that lead to the site."""
        return ["--site", str(self.files)]

    def refused(
        self, bundle: Path, *words: object, environ: Mapping[str, str] | None = None, status: int = 2,
        keeps_images: bool = False,
    ) -> str:  # fmt: skip
        """Upgrade all clusters for good, see it refused with nothing touched or left behind, and return the error.

        Everything is allowed, so that nothing but the wrong input stops it.  What is wrong deep inside an image
        shows when it is read, by the flow; ``keeps_images`` lets the good images stay in the state directory then.
        """
        given = words or self.where()
        with self.untouched(bundle, keeps_images=keeps_images):
            done = self.desk.run("upgrade", bundle, "--yes", "--allow-data-loss", *given, environ=environ)
            message = done.error
            assert done.status == status, f"{done.status}: {message}"
            assert keeps_images or "starting Prefect" not in done.err, "found only by the flow"
        return message

    @contextmanager
    def untouched(self, bundle: Path, *, keeps_images: bool = False) -> Iterator[None]:
        """See that clusters, registry, bundle, site files, state and temporary folder are the same after as before."""
        before = self._everything(bundle)
        yield
        after = self._everything(bundle)
        touched = sorted(x for x in before.keys() | after.keys() if before.get(x) != after.get(x))
        if keeps_images:
            assert_whole_images(self.desk.state)
            touched = [x for x in touched if not x.startswith("desk state")]
        assert not touched, [f"{x}: {before.get(x)} -> {after.get(x)}" for x in touched]

    def _everything(self, bundle: Path) -> dict[str, Any]:
        parts: dict[str, dict[str, Any]] = {name: versions(plane) for name, plane in self.site.clusters.items()}
        parts |= {f"registry {name}": dict.fromkeys(x, True) for name, x in self.site.registry.everything().items()}
        parts |= {"bundle": listing(bundle.parent), "desk": listing(self.desk.folder)}
        return {f"{place} {name}": value for place, part in parts.items() for name, value in part.items()}


def site_registry(registry: DockerRegistry) -> str:
    """Return a registry without TLS as ``--registry`` wants it."""
    return f"{registry.scheme}://{registry.host}"


def assert_whole_images(state: Path) -> None:
    """Check that a state directory holds nothing but whole blobs and notes of whole archives."""
    for path in state.rglob("*"):
        place = path.relative_to(state).parts
        if place[0] == "blobs" and path.is_file():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
        else:
            assert place[0] in ("blobs", "archives"), path


def versions(plane: ControlPlane) -> dict[str, str]:
    """Return the resource version of every object of a cluster that an upgrade may change."""
    found: dict[str, str] = {}
    with plane.client() as api:
        for api_version, kind in KINDS:
            answer = api.get(path_of(api_version, kind))
            for item in answer.json()["items"] if answer.is_success else []:
                metadata = item["metadata"]
                name = f"{kind}/{metadata.get('namespace', '')}/{metadata['name']}"
                found[name] = f"{metadata['uid']} {metadata['resourceVersion']}"
    return found


def listing(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the mode of everything below a folder, and size and time of its files; nothing when it is absent."""
    found: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        about = path.lstat()
        file = () if path.is_dir() else (about.st_size, about.st_mtime_ns)
        found[str(path.relative_to(folder))] = (about.st_mode, *file)
    return found


def wait_settled(site: Site) -> Site:
    """Wait until nothing on a site changes by itself any more, and return it."""
    for plane in site.clusters.values():
        wait_until("all pods run", lambda plane=plane: _settled(plane), 60)  # type: ignore[misc]
    return site


def _settled(plane: ControlPlane) -> bool:
    with plane.client() as api:
        items = api.get(path_of("apps/v1", "Deployment")).raise_for_status().json()["items"]
    return all(
        x["status"].get("observedGeneration") == x["metadata"]["generation"]
        and {x["status"].get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")}
        == {x["spec"]["replicas"]}
        for x in items
    )
