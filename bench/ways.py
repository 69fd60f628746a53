"""Ways to bring the images of archives into a registry, each run as a person runs it: as programs of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.archives import Archive
from bench.measuring import run
from tests.servers.assets import Assets

COMPASS = Path(sys.executable).parent / "compass-upgrade"
BLOBS = "oci/blobs/sha256/"


class Absent(Exception):
    """A way that is none on this machine."""


class Way(Protocol):
    """One way; ``tags`` tells whether it leaves tags, or only blobs."""

    name: str
    tags: bool

    def forget(self) -> None:
        """Leave nothing of earlier loads, so that the next one is a first one."""

    def load(self, host: str) -> int:
        """Bring every image to the registry at ``host`` and return the peak of memory in bytes."""


def said(words: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """Return what a program prints, empty when it is not there or ends badly."""
    try:
        done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60, env=env)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


@dataclass
class Docker:
    """``docker load``, ``tag`` and ``push`` of each archive, as upgrades were done before."""

    archives: Sequence[Archive]
    name: str = "docker load, tag, push"
    tags: bool = True
    _tagged: list[str] = field(default_factory=list)

    def forget(self) -> None:
        """Remove the images that were loaded here before; others stay."""
        if self._tagged:
            run(["docker", "rmi", "-f", *dict.fromkeys(self._tagged)])
        self._tagged.clear()

    def load(self, host: str) -> int:
        """Bring every image to the registry."""
        peaks = []
        for archive in self.archives:
            target = f"{host}/{archive.short_name}"
            peaks.append(run(["docker", "load", "-q", "-i", archive.path]))
            self._tagged += [archive.name, target]
            run(["docker", "tag", archive.name, target])
            peaks.append(run(["docker", "push", "-q", target]))
        return max(peaks)


def docker(archives: Sequence[Archive]) -> Way:
    """Return the way of Docker's engine.

    Raises:
        Absent: none runs here.
    """
    version = said(["docker", "version", "-f", "{{.Server.Version}}"])
    if not version:
        raise Absent("docker: no engine runs here")
    return Docker(archives, f"docker {version} load, tag, push")


@dataclass
class Unzipping:
    """A program that takes one archive at a time, unzipped first where ``unzip`` says so."""

    archives: Sequence[Archive]
    name: str
    words: Sequence[str]
    prefix: str
    target_prefix: str
    folder: Path
    unzip: bool = True
    env: Mapping[str, str] | None = None
    tags: bool = True

    def forget(self) -> None:
        """Nothing is kept between loads but what a registry's address leads to, and that is new each time."""

    def load(self, host: str) -> int:
        """Bring every image to the registry."""
        return max(self._one(x, host) for x in self.archives)

    def _one(self, archive: Archive, host: str) -> int:
        path = archive.path
        if self.unzip:
            path = self.folder / "unzipped.tar"
            with path.open("wb") as out:
                subprocess.run(["gzip", "-dc", archive.path], check=True, stdout=out)
        try:
            target = f"{self.target_prefix}{host}/{archive.short_name}"
            return run([*self.words, f"{self.prefix}{path}", target], self.env)
        finally:
            if self.unzip:
                path.unlink()


def skopeo(archives: Sequence[Archive], folder: Path, assets: Assets) -> Way:
    """Return skopeo's way; some versions cannot read a gzipped archive.

    Raises:
        Absent: it is not installed.
    """
    if "skopeo" not in assets:
        raise Absent("skopeo: not installed")
    program, env = assets["skopeo"], {**os.environ, **assets.env}
    version = said([program, "--version"], env).rpartition(" ")[2]
    unzip = not said([program, "--insecure-policy", "inspect", "--raw", f"docker-archive:{archives[0].path}"], env)
    return Unzipping(
        archives, f"{'gunzip + ' if unzip else ''}skopeo {version} copy",
        [program, "--insecure-policy", "copy", "-q", "--dest-tls-verify=false"],
        "docker-archive:", "docker://", folder, unzip, env,
    )  # fmt: skip


def crane(archives: Sequence[Archive], folder: Path) -> Way:
    """Return crane's way, which reads no gzipped archive.

    Raises:
        Absent: it is not installed.
    """
    if not (program := shutil.which("crane")):
        raise Absent("crane: not installed")
    version = said([program, "version"])
    return Unzipping(archives, f"gunzip + crane {version} push", [program, "push", "--insecure"], "", "", folder)


def installed() -> dict[str, str]:
    """Return an environment in which our modules are compiled once, as where they are installed."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


@dataclass
class Compass:
    """This tool: ``compass-upgrade load`` of a bundle."""

    bundle: Path
    name: str
    folder: Path
    tags: bool = True

    @property
    def _state(self) -> Path:
        return self.folder / f"state-{self.bundle.name}"

    def forget(self) -> None:
        """Remove the state directory."""
        shutil.rmtree(self._state, ignore_errors=True)

    def load(self, host: str) -> int:
        """Bring every image to the registry."""
        where = ["--registry", f"http://{host}", "--state-dir", str(self._state)]
        return run([COMPASS, "load", self.bundle, *where, "--quiet"], installed())


@dataclass
class Curl:
    """``curl`` sending the blobs of a packed bundle, ``at_once`` at a time: what the wire and the registry cost."""

    packed: Path
    folder: Path
    at_once: int
    name: str
    tags: bool = False

    def forget(self) -> None:
        """Lay the blobs out as files."""
        blobs = self.folder / "blobs"
        if blobs.exists():
            return
        blobs.mkdir()
        with tarfile.open(self.packed) as tar:
            for member in tar:
                if member.isreg() and BLOBS in member.name and (stream := tar.extractfile(member)):
                    with stream, (blobs / member.name.rpartition("/")[2]).open("wb") as out:
                        shutil.copyfileobj(stream, out, 1 << 20)

    def load(self, host: str) -> int:
        """Send every blob, the largest first."""
        blobs = sorted((self.folder / "blobs").iterdir(), key=lambda x: -x.stat().st_size)
        with ThreadPoolExecutor(max_workers=self.at_once) as pool:
            return max(pool.map(lambda x: self._send(x, host), blobs))

    def _send(self, blob: Path, host: str) -> int:
        # -q: nobody's curlrc; --noproxy: the registry is asked itself.
        common = ["curl", "-q", "-sSf", "--noproxy", "*"]
        begin = f"http://{host}/v2/release/floor/blobs/uploads/"
        done = subprocess.run(
            [*common, "-o", os.devnull, "-D", "-", "-X", "POST", begin], check=True, capture_output=True, text=True
        )
        location = next(
            x.split(":", 1)[1].strip() for x in done.stdout.splitlines() if x.lower().startswith("location:")
        )
        header = ["-H", "Content-Type: application/octet-stream"]
        return run([*common, "-o", os.devnull, *header, "-T", str(blob), f"{location}&digest=sha256:{blob.name}"])


def curl(packed: Path, folder: Path, at_once: int) -> Way:
    """Return curl's way.

    Raises:
        Absent: it is not installed.
    """
    if not shutil.which("curl"):
        raise Absent("curl: not installed")
    return Curl(packed, folder, at_once, f"curl, {at_once} of the same blobs at a time")
