"""The verb ``rehearse``: bring up a simulated site, run the real command line against it, show what happened."""

from __future__ import annotations

import logging
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from compass.errors import EXIT_DONE, InvalidInput
from compass.report import RunReport
from flows import engine
from flows.screen import Screen
from rehearsal.example.bundle import write_bundle
from rehearsal.site import CONTROL, SimulatedSite, Trouble

MOST_CLUSTERS = 500
SHOWN_CLUSTERS = 12
GRACE_SECONDS = 60.0


@dataclass(frozen=True)
class Rehearsal:
    """What to rehearse: a bundle (an example without one), on how many user clusters, with what trouble.

    ``words`` go to every verb that is run, ``leave`` to those that plan or change.
    """

    bundle: Path | None = None
    clusters: int = 2
    from_backup: Path | None = None
    trouble: Trouble | None = None
    keep: bool = False
    words: tuple[str, ...] = ()
    leave: tuple[str, ...] = ()


def rehearse(asked: Rehearsal, screen: Screen) -> int:
    """Run upgrade and check on a simulated site; return the exit status of the upgrade.

    Raises:
        InvalidInput: the number of clusters makes no sense, or bundle or backup are not there.
    """
    if not 1 <= asked.clusters <= MOST_CLUSTERS:
        raise InvalidInput("read option", "--clusters", found=str(asked.clusters), expected=f"1 to {MOST_CLUSTERS}")
    if asked.bundle and not asked.bundle.exists():
        raise InvalidInput("open bundle", asked.bundle, found="no such file or folder", expected="a bundle")
    # Each cluster listens, and is spoken to over several connections: hundreds need more than the usual 1,024 files.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    folder = Path(tempfile.mkdtemp(prefix="compass-rehearsal-"))
    # The simulated servers break connections on purpose; what their framework says of it helps nobody.
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL + 1)
    try:
        return _on_a_site(asked, screen, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _on_a_site(asked: Rehearsal, screen: Screen, folder: Path) -> int:
    began = time.monotonic()
    users = [f"user-{number}" for number in range(1, asked.clusters + 1)]
    with SimulatedSite(folder / "site", users, asked.from_backup, asked.trouble) as site:
        screen.tell(f"site up in {time.monotonic() - began:.1f} s: registry {site.registry.host}, "
                    f"control cluster, {len(users)} user clusters")  # fmt: skip
        bundle = asked.bundle.absolute() if asked.bundle else write_bundle(site.folder)
        run = _Commands(site, folder, bundle, asked, screen)
        began = time.monotonic()
        status = run.upgrade()
        if status == EXIT_DONE:
            run.command("check")
        _summary(screen, folder / "state", time.monotonic() - began)
        if asked.keep:
            _stay(site, folder, bundle, screen)
        else:
            screen.say("the site went with its backups and reports; --keep leaves it up until Ctrl-C")
    return status


class _Commands:
    """Runs the command line as a person on site would, and prints each command before."""

    def __init__(self, site: SimulatedSite, folder: Path, bundle: Path, asked: Rehearsal, screen: Screen) -> None:
        self.site, self.folder, self.bundle, self.asked, self.screen = site, folder, bundle, asked, screen
        where = [] if asked.bundle is None else [str(bundle), "--site", str(site.folder)]
        self.where = [*where, "--state-dir", str(folder / "state"), *asked.words]
        self.cwd = bundle if asked.bundle is None else folder

    def command(self, verb: str, *words: str) -> int:
        """Run a verb to its end and return its exit status."""
        return _end(self._start(verb, *words))

    def upgrade(self) -> int:
        """Run the upgrade through the trouble that was asked for, a second time where it is killed."""
        quiet = ["--quiet"] if self.asked.clusters > SHOWN_CLUSTERS else []
        words = ("upgrade", "--yes", *self.asked.leave, *quiet)
        if self.asked.trouble is None:
            return self.command(*words)
        killed = threading.Event()
        process: list[subprocess.Popen[bytes]] = []

        def kill() -> None:
            killed.set()
            self.screen.tell("rehearsal: kill -9, in the middle of the first apply", "magenta")
            os.killpg(process[0].pid, signal.SIGKILL)
            time.sleep(0.5)  # until its local server has no parent any more
            engine.end_server(_prefect_home(), engine.NOBODY)

        with self.site.broken(kill, lambda text: self.screen.tell(f"rehearsal: {text}", "magenta")):
            process.append(self._start(*words))
            status = _end(process[0])
        if killed.is_set():
            self.screen.tell("rehearsal: the same command again", "magenta")
            return self.command(*words)
        return status

    def _start(self, verb: str, *words: str) -> subprocess.Popen[bytes]:
        given = [verb, *self.where, *words]
        shown = [verb, *([str(self.bundle)] if self.asked.bundle else []), *self.asked.words, *words]
        self.screen.tell(f"\n$ compass-upgrade {shlex.join(shown)}", "bold cyan")
        environ = {**os.environ, "PREFECT_HOME": str(_prefect_home()), "NO_PROXY": "*"}
        environ.pop("PREFECT_API_URL", None)
        # Its own process group: it can be killed as a whole, and Ctrl-C reaches it through us.
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "flows.cli", *given], cwd=self.cwd, env=environ, stdin=subprocess.DEVNULL,
            process_group=0,
        )  # fmt: skip


def _end(process: subprocess.Popen[bytes]) -> int:
    """Wait for a command and return its exit status; Ctrl-C lets it stop as a real run would, a second one ends it."""
    try:
        return process.wait()
    except BaseException:  # Ctrl-C, or SIGTERM as SystemExit: what was started ends before the site goes
        for number in (signal.SIGINT, signal.SIGKILL):
            with suppress(ProcessLookupError, subprocess.TimeoutExpired, KeyboardInterrupt):
                # Prefect takes SIGTERM for the end of a flow, wherever it is; SIGINT reaches us alone.
                os.kill(process.pid, number)
                process.wait(GRACE_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        engine.end_server(_prefect_home(), engine.NOBODY)
        raise


def _prefect_home() -> Path:
    """Return where rehearsals keep Prefect's database: made once, apart from the real one."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = cache / "compass-upgrade" / "rehearsal-prefect"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return home


def _summary(screen: Screen, state: Path, seconds: float) -> None:
    """Print step by step, cluster by cluster, what the last report says."""
    reports = sorted((state / "reports").glob("*.json"))
    if not reports:
        return
    report = RunReport.model_validate_json(reports[-1].read_bytes())
    shown = report.clusters[:SHOWN_CLUSTERS]
    names = list(dict.fromkeys(step.name for cluster in shown for step in cluster.steps))
    rows: list[list[str]] = []
    for name in names:
        row = [name]
        for cluster in shown:
            step = next((x for x in cluster.steps if x.name == name), None)
            row.append("" if step is None else f"{step.seconds:.1f} s" if step.state == "done" else step.state)
        rows.append(row)
    rows.append(["", *(x.state for x in shown)])
    screen.say("")
    screen.say(f"rehearsed {report.bundle} {report.version}: {report.state}, {seconds:.0f} s", "bold")
    screen.table(["step", *(x.cluster for x in shown)], rows)
    if len(report.clusters) > len(shown):
        screen.say(f"… and {len(report.clusters) - len(shown)} more clusters: {_states(report)}")
    for cluster in report.clusters:
        if cluster.problem:
            screen.say(f"{cluster.cluster}: {cluster.problem}", "red")


def _states(report: RunReport) -> str:
    counts: dict[str, int] = {}
    for cluster in report.clusters:
        counts[cluster.state] = counts.get(cluster.state, 0) + 1
    return ", ".join(f"{count} {state}" for state, count in counts.items())


def _stay(site: SimulatedSite, folder: Path, bundle: Path, screen: Screen) -> None:
    """Keep the site up until the person has seen enough."""
    screen.say("")
    here = Path(sys.executable).parent
    screen.say(f"registry: {site.registry.url}")
    for name, path in site.kubeconfigs(folder / "kubeconfigs").items():
        kind = "releases" if name == CONTROL else "deployments"
        screen.say(f"{name}: {here / 'kubectl'} --kubeconfig {path} get {kind} -A")
    screen.say(f"again: {here / 'compass-upgrade'} plan {bundle} --site {site.folder} --state-dir {folder / 'state'}")
    screen.say(f"backups and reports: {folder / 'state'}")
    screen.say("the site stays up until Ctrl-C")
    stop = threading.Event()
    with _on_interrupt(stop):
        stop.wait()


@contextmanager
def _on_interrupt(stop: threading.Event) -> Iterator[None]:
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
