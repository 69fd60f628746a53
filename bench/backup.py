"""How much faster ``compass-upgrade backup`` is than the old script, which ran one ``kubectl get`` for each Release.

Both are whole processes, start-up and all, against one real API server that this module starts on the loopback: the
old way is ``kubectl get releases`` for the names and then ``kubectl get release NAME -o yaml`` for each.  The new way
also backs up what the bundle touches, syncs every file and reads it back.  Each round measures both, one after the
other, and the median counts.  Afterwards every file of the last backup is compared with what kubectl printed.

Run ``.venv/bin/python -m bench.backup [--releases N] [--rounds N]``; it ends with status 1 when a file differs or the
new way is not at least ten times as fast.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from bench.measuring import cores, timed
from tests.material.bundles import legacy_bundle, site_folder
from tests.material.clusters import NAMESPACES, cluster_object, create, install_definitions, release
from tests.servers.assets import ensure
from tests.servers.control_plane import ControlPlane

RELEASES = 500
ROUNDS = 3
WANTED_RATIO = 10
PROGRAMS = Path(sys.executable).parent


def main() -> int:
    """Measure, compare, print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--releases", type=int, default=RELEASES, help="how many Releases of about 8 KB")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often both are measured")
    given = parser.parse_args()
    with ControlPlane(ensure(), controllers=False) as plane, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        populate(plane, given.releases)
        site = site_folder(folder / "site", plane)
        bundle = legacy_bundle(folder / "bundle").folder
        old, new = [], []
        for number in range(given.rounds):
            seconds, printed = timed(lambda: with_kubectl(site / ".kubectl.kubeconfig"))
            old.append(seconds)
            state = folder / f"state-{number}"
            seconds, _ = timed(lambda state=state: with_compass(site, bundle, state))  # type: ignore[misc]
            new.append(seconds)
            print(f"round {number + 1}: kubectl {old[-1]:.2f} s, compass-upgrade {new[-1]:.2f} s", flush=True)
        wrong = differing(printed, state)
    ratio = statistics.median(old) / statistics.median(new)
    print(f"{given.releases} Releases, {cores()} cores, median of {given.rounds}")
    print(f"one kubectl get each    {statistics.median(old):8.2f} s")
    print(f"compass-upgrade backup  {statistics.median(new):8.2f} s")
    print(f"ratio                   {ratio:8.1f}")
    print(f"files that differ       {len(wrong):8d}", *wrong[:3])
    return 0 if ratio >= WANTED_RATIO and not wrong else 1


def populate(plane: ControlPlane, releases: int) -> None:
    """Make a control cluster with Releases, half of them in each namespace."""
    install_definitions(plane)
    create(plane, [release(NAMESPACES[n % 2], f"app-{n:04d}") for n in range(releases)])
    create(plane, [cluster_object("control", plane, is_control=True)])


def with_kubectl(kubeconfig: Path) -> dict[str, str]:
    """Return the YAML of every Release by namespace and name, as the old script got it."""
    words = [str(PROGRAMS / "kubectl"), "--kubeconfig", str(kubeconfig), "get", "releases.release.caicloud.io"]
    printed = {}
    for namespace in NAMESPACES:
        names = output([*words, "-n", namespace, "-o", "name"]).splitlines()
        for name in (x.rpartition("/")[2] for x in names):
            text = output([*words, "-n", namespace, name, "-o", "yaml", "--show-managed-fields"])
            printed[f"{namespace}/{name}"] = text
    return printed


def with_compass(site: Path, bundle: Path, state: Path) -> None:
    """Back up the same cluster as a person does."""
    words = [str(PROGRAMS / "compass-upgrade"), "backup", str(bundle), "--site", str(site), "--quiet"]
    output([*words, "--state-dir", str(state), "--cluster", "control"])


def output(words: list[str]) -> str:
    """Return what a program prints; it must end well."""
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout


def differing(printed: dict[str, str], state: Path) -> list[str]:
    """Return the Releases whose backup is not what kubectl printed, or that only one of them has."""
    (root,) = state.glob("backups/control/*/release_backup")
    saved = {f"{x.parent.name}/{x.stem}": x.read_text() for x in root.rglob("*.yaml")}
    load = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
    return sorted(
        name
        for name in printed.keys() | saved.keys()
        if yaml.load(printed.get(name, ""), load) != yaml.load(saved.get(name, ""), load)
    )


if __name__ == "__main__":
    sys.exit(main())
