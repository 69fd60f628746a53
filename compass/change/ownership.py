"""Who owns which field: managedFields read as sets of paths, and what to take over from earlier tools.

Source: kubernetes.io, reference, Server-Side Apply; sigs.k8s.io/structured-merge-diff, fieldpath (FieldsV1).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from typing import Any

# What kubectl wrote before, by the old scripts or by hand, is taken over: nobody else will ever let go of it.
EARLIER_MANAGERS = frozenset(
    {
        "kubectl", "kubectl-client-side-apply", "kubectl-create", "kubectl-edit", "kubectl-patch", "kubectl-replace",
        "kubectl-set", "kubectl-rollout", "kubectl-last-applied", "before-first-apply",
    }
)  # fmt: skip
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
Path = tuple[str, ...]


def _entries(item: dict[str, Any]) -> list[dict[str, Any]]:
    entries = (item.get("metadata") or {}).get("managedFields") or []
    return [x for x in entries if isinstance(x, dict)]


def _is_earlier(entry: dict[str, Any]) -> bool:
    """Tell whether an entry was left by an earlier tool; status is never one's to take."""
    only_status = set(entry.get("fieldsV1") or {}) == {"f:status"}
    return entry.get("manager") in EARLIER_MANAGERS and not entry.get("subresource") and not only_status


def last_applied(live: dict[str, Any]) -> dict[str, Any] | None:
    """Return the manifest that ``kubectl apply`` gave last, while its fields are not ours yet; ``None`` otherwise.

    It is what tells the manifest's fields from those that defaults and controllers filled in.
    """
    entries = _entries(live)
    if entries and not any(_is_earlier(x) for x in entries):
        return None
    try:
        manifest = json.loads(((live["metadata"].get("annotations")) or {}).get(LAST_APPLIED, ""))
    except ValueError:
        return None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("metadata"), dict):
        return None
    kept = {key: live["metadata"][key] for key in ("name", "namespace") if key in live["metadata"]}
    metadata = {**manifest["metadata"], **kept}
    metadata.pop("creationTimestamp", None)
    return {**manifest, "apiVersion": live["apiVersion"], "kind": live["kind"], "metadata": metadata}


def applied_fields(item: dict[str, Any], manager: str) -> dict[str, Any]:
    """Return the FieldsV1 that a manager applies."""
    for entry in _entries(item):
        if entry.get("manager") == manager and entry.get("operation") == "Apply":
            return dict(entry.get("fieldsV1") or {})
    return {}


def taken_over(live: dict[str, Any], manager: str, fields: dict[str, Any]) -> list[dict[str, Any]]:
    """Return managedFields in which ``manager`` applies ``fields`` and earlier tools own nothing."""
    ours = _union(applied_fields(live, manager), fields)
    kept = [
        x for x in _entries(live)
        if not _is_earlier(x) and not (x.get("manager") == manager and x.get("operation") == "Apply")
    ]  # fmt: skip
    mine = {
        "manager": manager,
        "operation": "Apply",
        "apiVersion": live["apiVersion"],
        "fieldsType": "FieldsV1",
        "fieldsV1": ours,
    }
    return [mine, *copy.deepcopy(kept)]


def _union(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    merged = dict(left)
    for key, value in right.items():
        merged[key] = _union(merged[key], value) if key in merged else value
    return merged


def replacing(live: dict[str, Any], wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the JSON patch that gives ``live`` the content of ``wanted``; identity and status are left alone."""
    operations = []
    for key in (*live, *(x for x in wanted if x not in live)):
        if key in ("apiVersion", "kind", "metadata", "status") or live.get(key) == wanted.get(key):
            continue
        operations.append(_operation(f"/{key}", live.get(key), wanted.get(key)))
    for key in ("labels", "annotations"):
        old, new = live["metadata"].get(key), wanted["metadata"].get(key)
        if old != new:
            operations.append(_operation(f"/metadata/{key}", old, new))
    return operations


def _operation(path: str, old: Any, new: Any) -> dict[str, Any]:
    if new is None:
        return {"op": "remove", "path": path}
    return {"op": "add" if old is None else "replace", "path": path, "value": new}


def without_leftovers(dry_run: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    """Return a dry run's result as it will be once ``fields``, an earlier tool's, are taken over.

    Those that nobody applies any more stay in a dry run; the real apply, after the take-over, removes them.
    """
    kept: set[Path] = set()
    for entry in _entries(dry_run):
        if not _is_earlier(entry):
            kept |= _with_parents(field_paths(entry.get("fieldsV1") or {}))
    predicted = copy.deepcopy(dry_run)
    # A whole item of a list goes before its fields: what is left of it would have no name.
    for path in sorted(set(field_paths(fields)) - kept, key=len):
        _remove(predicted, path, kept)
    return predicted


def field_paths(fields: dict[str, Any], above: Path = ()) -> Iterator[Path]:
    """Yield each owned path of a FieldsV1 set; steps keep their prefix (``f:``, ``k:``, ``v:``)."""
    for key, below in fields.items():
        if key == ".":
            yield above
        elif below:
            yield from field_paths(below, (*above, key))
        else:
            yield (*above, key)


def _with_parents(paths: Iterator[Path]) -> set[Path]:
    return {path[:length] for path in paths for length in range(1, len(path) + 1)}


def _remove(value: Any, path: Path, kept: set[Path]) -> None:
    """Remove what ``path`` leads to, unless something below it is kept."""
    holder = _follow(value, path[:-1])
    if holder is None or any(k[: len(path)] == path for k in kept):
        return
    step = path[-1]
    if step.startswith("f:") and isinstance(holder, dict):
        holder.pop(step[2:], None)
    elif isinstance(holder, list):
        holder[:] = [x for x in holder if not _is_item(x, step)]


def _follow(value: Any, path: Sequence[str]) -> Any:
    for step in path:
        if step.startswith("f:") and isinstance(value, dict):
            value = value.get(step[2:])
        elif isinstance(value, list):
            value = next((x for x in value if _is_item(x, step)), None)
        else:
            return None
    return value


def _is_item(item: Any, step: str) -> bool:
    wanted: Any = json.loads(step[2:]) if step[:2] in ("k:", "v:") else {}
    if step.startswith("k:"):
        return isinstance(item, dict) and all(_key_value(item, key) == value for key, value in wanted.items())
    return step.startswith("v:") and bool(item == wanted)


def _key_value(item: dict[str, Any], key: str) -> Any:
    # The API server keys ports by protocol, which may be left out where it is TCP.
    return item.get(key, "TCP" if key == "protocol" else None)
