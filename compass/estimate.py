"""How long an upgrade may take: by what the cluster remembers, and what the reports of this machine say of others."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import nlargest
from pathlib import Path

from compass.cluster.record import read_records
from compass.report import RunReport
from compass.steps.workplace import Target, Workplace
from compass.window.room import Estimate, estimate

#: The newest reports that are looked at.
REPORTS = 50


def expected(place: Workplace, target: Target, digest: str) -> Estimate | None:
    """Return how long the bundle with this digest may take on a cluster; ``None`` where nothing is known.

    Raises:
        Transient, Refused: the cluster cannot be asked for its Records.
    """
    records = read_records(place.client(target))
    own = [(x.digest, sum(x.seconds.values())) for x in records if x.state == "done" and x.seconds]
    return estimate(own, _alike(place.state.reports, target), digest)


def _alike(folder: Path, target: Target) -> Iterator[tuple[str, float]]:
    """Yield digest and seconds of each cluster of the same role that was upgraded from this machine."""
    for path in nlargest(REPORTS, folder.glob("*-upgrade-*.json")):
        try:
            report = RunReport.model_validate_json(path.read_bytes())
        except (OSError, ValueError):  # of another version of this tool, or damaged: it only helps to guess
            continue
        for cluster in report.clusters:
            if cluster.role == target.role and cluster.state == "upgraded" and cluster.cluster != target.name:
                yield report.digest, sum(x.seconds for x in cluster.steps)
