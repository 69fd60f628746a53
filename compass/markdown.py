"""Results as Markdown, for artifacts that people read in the Prefect UI."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from compass.change.plan import MARKS, Plan
from compass.change.proof import Evidence
from compass.report import ClusterReport, RunReport
from compass.steps.backup import BackupResult
from compass.steps.images import LoadResult
from compass.steps.prepare import Prepared

MAX_ROWS = 500


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; rows beyond MAX_ROWS are counted, not shown."""
    shown = [list(map(_cell, row)) for row in rows]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in shown[:MAX_ROWS]]
    if len(shown) > MAX_ROWS:
        lines.append(f"\n… and {len(shown) - MAX_ROWS} more")
    return "\n".join(lines)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def bulleted(title: str, lines: Iterable[str]) -> str:
    """Return a heading and a list."""
    listed = [f"- {_cell(x)}" for x in lines]
    return "\n".join([f"## {title}", "", *(listed[:MAX_ROWS] or ["- nothing to do"])])


def of_prepared(prepared: Prepared) -> str:
    """Return what a bundle is."""
    rows = [
        ("version", prepared.version), ("digest", prepared.digest), ("files", prepared.files),
        ("size", size_text(prepared.size_bytes)), ("components", ", ".join(prepared.components)),
    ]  # fmt: skip
    return "\n\n".join([f"## Bundle {_cell(prepared.name)}", table(("", ""), rows), *map(_cell, prepared.conclusions)])


def of_plan(plan: Plan) -> str:
    """Return a plan, a row per object."""
    changes = (*plan.changes, *plan.removals)
    rows = [(MARKS[x.action], x.action, x.ref, x.component, _why(x.reason, x.differences)) for x in changes]
    counted = ", ".join(f"{n} {action}" for action, n in plan.counts().items() if n) or "nothing"
    title = f"## Plan for cluster {_cell(plan.cluster)}: {counted}"
    return "\n\n".join([title, table(("", "change", "object", "component", "what"), rows)])


def _why(reason: str, lines: Sequence[str]) -> str:
    more = f" (and {len(lines) - 5} more)" if len(lines) > 5 else ""
    return "; ".join([*([reason] if reason else []), *lines[:5]]) + more


def of_backup(result: BackupResult) -> str:
    """Return where a backup lies."""
    rows = [("folder", result.folder), ("Releases", result.releases), ("other objects", result.objects)]
    return "\n\n".join([f"## Backup of cluster {_cell(result.cluster)}", table(("", ""), rows)])


def of_images(result: LoadResult) -> str:
    """Return the images in the registry, a row each."""
    rows = [(x.target, x.digest, size_text(x.bytes_sent), size_text(x.bytes_skipped)) for x in result.images]
    return "\n\n".join(["## Images", table(("image", "digest", "sent", "was there"), rows)])


def of_evidence(cluster: str, evidence: Sequence[Evidence]) -> str:
    """Return the proof of one cluster, a row per container and pod."""
    rows = [(x.verdict, x.workload, x.container, x.pod, x.image, x.running or "-", x.reason) for x in evidence]
    head = ("verdict", "workload", "container", "pod", "image", "runs", "why")
    return "\n\n".join([f"## What cluster {_cell(cluster)} runs", table(head, rows)])


def of_cluster(report: ClusterReport) -> str:
    """Return how one cluster came out, a row per step."""
    rows = [(x.name, x.state, f"{x.seconds:.1f} s", "; ".join(x.lines[:5])) for x in report.steps]
    title = f"## Cluster {_cell(report.cluster)}: {report.state}"
    problem = [f"**{_cell(report.problem)}**"] if report.problem else []
    left = [bulleted("Not as before", report.not_as_before)] if report.not_as_before else []
    return "\n\n".join([title, *problem, table(("step", "state", "time", "what"), rows), *left])


def of_run(report: RunReport) -> str:
    """Return how a run came out, a row per cluster."""
    rows = [(x.cluster, x.role, x.state, x.problem) for x in report.clusters]
    title = f"## {_cell(report.bundle)} {_cell(report.version)}: {report.state}"
    return "\n\n".join([title, table(("cluster", "role", "state", "problem"), rows)])


def size_text(size_bytes: int) -> str:
    """Return a size as people read it: ``12.3 MB``."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("unreachable: the loop returns")
