"""Find or build the real server binaries that the tests start.

Looked for in this order: the folder named by ``KUBEBUILDER_ASSETS`` (the convention of envtest), the cache
(``$XDG_CACHE_HOME/compass-upgrade``), then ``PATH``.  On Debian and Ubuntu what is missing is fetched with apt as
an ordinary user, unpacked (never installed) below the cache, and Kubernetes is built there once from Debian's own
source package.  Nothing outside the cache folder is written.

Run ``python -m tests.servers.assets`` to do it by hand.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.servers.map_iteration import repair_map_iteration

KUBERNETES = "1.20.2"
# The build's own number is part of the folder's name: a cache with binaries of an earlier way to build is left alone.
BUILD = f"kubernetes-{KUBERNETES}-2"
COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
BUILD_PACKAGES = ("golang-go", "rsync", "jq", "make", "gcc", "libc6-dev")
SERVER_PACKAGES = ("etcd-server", "docker-registry", "containerd", "runc", "containernetworking-plugins")
# What few tests need, with the package that brings it; their absence keeps nothing else from running.
COMMANDS = {"skopeo": "skopeo", "initdb": "postgresql", "postgres": "postgresql"}


class Missing(Exception):
    """A binary is neither here nor can it be built on this machine."""


@dataclass(frozen=True)
class Assets:
    """Where each binary is; ``env`` is what a process needs to run the unpacked ones."""

    binaries: dict[str, Path]
    env: dict[str, str]

    def __getitem__(self, name: str) -> str:
        try:
            return str(self.binaries[name])
        except KeyError:
            where = "KUBEBUILDER_ASSETS, the cache or PATH, and only Debian can build it"
            raise Missing(f"{name}: not in {where}") from None

    def __contains__(self, name: str) -> bool:
        return name in self.binaries

    def minor(self, name: str) -> int:
        """Return the minor version of a Kubernetes binary: 20 for v1.20.2."""
        env = {**os.environ, **self.env}
        done = subprocess.run([self[name], "--version"], check=True, capture_output=True, text=True, env=env)
        return int(done.stdout.partition(" v1.")[2].partition(".")[0])

    def without_http(self, name: str) -> list[str]:
        """Return the flags that close the insecure port, which versions before 1.24 open beside the secure one."""
        return ["--port=0"] if self.minor(name) < 24 else []


def cache_root() -> Path:
    """Return the cache folder of the project, which outlives checkouts."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "compass-upgrade"


def say(text: str) -> None:
    """Tell the person waiting what is being done."""
    print(f"[servers] {text}", file=sys.stderr, flush=True)


def find() -> Assets:
    """Return every binary that is already on this machine, building nothing."""
    folders: list[Path] = []
    if os.environ.get("KUBEBUILDER_ASSETS"):
        folders.append(Path(os.environ["KUBEBUILDER_ASSETS"]))
    root = cache_root() / "root"
    folders.append(cache_root() / BUILD)
    folders += [root / "usr/bin", root / "usr/sbin", root / "sbin", root / "bin"]
    folders += [x for top in (root, Path("/")) for x in sorted(top.glob("usr/lib/postgresql/*/bin"), reverse=True)]
    folders += [Path(p) for p in os.environ.get("PATH", "").split(os.pathsep) if p]
    names = (*COMPONENTS, "etcd", "docker-registry", "containerd", "containerd-shim-runc-v2", "runc", *COMMANDS)
    found: dict[str, Path] = {}
    for name in names:
        for folder in folders:
            if (folder / name).is_file() and os.access(folder / name, os.X_OK):
                found[name] = folder / name
                break
    for plugins in (root / "usr/lib/cni", Path("/usr/lib/cni"), Path("/opt/cni/bin")):
        if (plugins / "bridge").is_file():
            found["cni"] = plugins
            break
    return Assets(found, unpacked_env())


def unpacked_env() -> dict[str, str]:
    """Return the environment in which binaries unpacked below the cache find their libraries."""
    root = cache_root() / "root"
    path = os.pathsep.join(
        [str(root / "usr/bin"), str(root / "usr/sbin"), str(root / "sbin"), os.environ.get("PATH", "")]
    )
    libraries = [*(root / "usr/lib").glob("*-linux-gnu"), *(root / "lib").glob("*-linux-gnu")]
    env = {"PATH": path}
    if libraries:
        env["LD_LIBRARY_PATH"] = os.pathsep.join(map(str, libraries))
    return env


def ensure() -> Assets:
    """Return the binaries, fetching and building what is missing where this machine can.

    Raises:
        Missing: fetching or building failed.
    """
    cache_root().mkdir(parents=True, exist_ok=True)
    with (cache_root() / "lock").open("w") as lock:
        # The workers of pytest-xdist ask at the same time; one builds, the others find it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _ensure()


def ensure_command(name: str) -> Assets:
    """Return the binaries with one of ``COMMANDS``, unpacking it where this machine can.

    Raises:
        Missing: fetching failed.
    """
    cache_root().mkdir(parents=True, exist_ok=True)
    with (cache_root() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        here = find()
        if (name in here and works(here[name])) or not shutil.which("apt-get"):
            return here
        apt = Apt(cache_root() / "apt")
        apt.update()
        apt.unpack((COMMANDS[name],))
        return find()


def _ensure() -> Assets:
    here = find()
    wanted = {"kube-apiserver", "kube-controller-manager", "etcd", "docker-registry"}
    if node_possible():
        wanted |= {"kube-scheduler", "kubelet", "containerd", "runc", "cni"}
    lacking = {name for name in wanted if name not in here or not works(here[name])}
    if not lacking:
        return here
    if not shutil.which("apt-get"):
        # Whoever asks for what is absent hears of it; the others can work.
        return here
    apt = Apt(cache_root() / "apt")
    apt.update()
    if lacking & {"etcd", "docker-registry", "containerd", "runc", "cni"}:
        apt.unpack(SERVER_PACKAGES)
    if lacking & set(COMPONENTS):
        build_kubernetes(apt)
    return find()


def node_possible() -> bool:
    """Tell whether a real node may be started here: root on Linux."""
    return sys.platform == "linux" and os.geteuid() == 0


def works(binary: str) -> bool:
    """Tell whether a cached binary still runs on this machine."""
    if Path(binary).is_dir():
        return True
    env = {**os.environ, **unpacked_env()}
    try:
        done = subprocess.run([binary, "--version"], check=False, capture_output=True, timeout=60, env=env)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode in (0, 1)


class Apt:
    """Debian's apt with lists and cache of its own, so that it works for an ordinary user and changes nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in ("lists/partial", "cache/archives/partial", "sources", "src"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        self.write_sources()

    def write_sources(self) -> None:
        """Copy the machine's own sources, asking for source packages as well."""
        for stanza in Path("/etc/apt/sources.list.d").glob("*.sources"):
            if stanza.name in ("debian.sources", "ubuntu.sources"):
                lines = stanza.read_text().splitlines()
                text = "\n".join("Types: deb deb-src" if x.startswith("Types:") else x for x in lines)
                (self.folder / "sources" / stanza.name).write_text(text + "\n")
        plain = Path("/etc/apt/sources.list")
        if plain.exists():
            lines = [x for x in plain.read_text().splitlines() if x.startswith("deb ")]
            both = lines + [x.replace("deb ", "deb-src ", 1) for x in lines]
            (self.folder / "sources" / "plain.list").write_text("\n".join(both) + "\n")

    def run(self, *words: str, cwd: Path | None = None) -> str:
        """Run apt-get with our own folders and return what it printed.

        Raises:
            Missing: apt-get failed; its last lines are in the message.
        """
        options = {
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": str(self.folder / "sources"),
            "Dir::State::lists": str(self.folder / "lists"),
            "Dir::Cache": str(self.folder / "cache"),
            "Dir::State::extended_states": str(self.folder / "extended_states"),
            "Debug::NoLocking": "1",
            "APT::Sandbox::User": "",
            "APT::Keep-Downloaded-Packages": "true",
        }
        flags = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
        done = subprocess.run(["apt-get", *flags, *words], check=False, capture_output=True, text=True, cwd=cwd)
        if done.returncode:
            raise Missing(f"apt-get {words[0]} failed: {done.stderr.strip()[-600:]}")
        return done.stdout

    def update(self) -> None:
        """Fetch the package lists."""
        say("fetching package lists")
        self.run("update")

    def unpack(self, packages: tuple[str, ...]) -> None:
        """Download packages with what they depend on, and unpack them below the cache."""
        say(f"fetching {', '.join(packages)}")
        self.run("install", "-y", "--download-only", "--no-install-recommends", "--reinstall", *packages)
        root = cache_root() / "root"
        root.mkdir(parents=True, exist_ok=True)
        for deb in sorted((self.folder / "cache" / "archives").glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", str(deb), str(root)], check=True)
            deb.unlink()

    def source(self, package: str) -> Path:
        """Download a source package and return the path of its upstream archive."""
        self.run("source", "--download-only", package, cwd=self.folder / "src")
        return next((self.folder / "src").glob(f"{package}_*.orig.tar.*"))


def build_kubernetes(apt: Apt) -> None:
    """Build the server binaries from Debian's source package into the cache (about ten minutes on two cores)."""
    # The build tools of the machine are used where it has them; unpacked ones fill the gaps.
    missing = tuple(p for p, tool in tools().items() if not shutil.which(tool, path=unpacked_env()["PATH"]))
    if missing:
        apt.unpack(missing)
    say(f"building Kubernetes {KUBERNETES} from Debian's source package; once per machine, about ten minutes")
    tree = cache_root() / "build"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    subprocess.run(["tar", "-xf", str(apt.source("kubernetes")), "-C", str(tree), "--strip-components=1"], check=True)
    repair_map_iteration(tree)
    env = {**os.environ, **unpacked_env(), "GOCACHE": str(tree / ".gocache"), "GOFLAGS": "-mod=vendor"}
    goroot = cache_root() / "root/usr/lib/go-1.19"
    if goroot.exists() and not shutil.which("go"):
        env["GOROOT"] = str(goroot)
    what = " ".join(f"cmd/{name}" for name in COMPONENTS)
    log = cache_root() / "build.log"
    with log.open("w") as out:
        done = subprocess.run(
            ["make", f"WHAT={what}", f"KUBE_GIT_VERSION=v{KUBERNETES}", "KUBE_GIT_TREE_STATE=archive",
             "KUBE_GIT_COMMIT=debian", "KUBE_STATIC_OVERRIDES=kubelet"],
            check=False, cwd=tree, env=env, stdout=out, stderr=subprocess.STDOUT)  # fmt: skip
    if done.returncode:
        raise Missing(f"building Kubernetes failed; its last lines are in {log}")
    target = cache_root() / BUILD
    target.mkdir(parents=True, exist_ok=True)
    for name in COMPONENTS:
        built = tree / "_output/local/bin/linux" / go_arch() / name
        aside = target / f".{name}.new"
        shutil.copy2(built, aside)
        aside.rename(target / name)
    shutil.rmtree(tree, ignore_errors=True)


def tools() -> dict[str, str]:
    """Return each build package with the command it brings."""
    return dict(zip(BUILD_PACKAGES, ("go", "rsync", "jq", "make", "gcc", "ld"), strict=True))


def go_arch() -> str:
    """Return Go's name of this machine's architecture."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


if __name__ == "__main__":
    try:
        ready = ensure()
    except Missing as error:
        sys.exit(f"[servers] {error}")
    for name, path in sorted(ready.binaries.items()):
        print(f"{name:28} {path}")
