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
# What stands in a manifest that was read from a cluster, and is nobody's to apply.
_SERVER_SET = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid")
Path = tuple[str, ...]


def entries(item: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the managedFields of an object."""
    found = (item.get("metadata") or {}).get("managedFields") or []
    return [x for x in found if isinstance(x, dict)]


def _is_earlier(entry: dict[str, Any]) -> bool:
    """Tell whether an entry was left by an earlier tool; status is never one's to take."""
    return entry.get("manager") in EARLIER_MANAGERS and not _is_status(entry)


def _is_written(entry: dict[str, Any], manager: str) -> bool:
    """Tell whether an entry is of what ``manager`` wrote otherwise than by applying."""
    return entry.get("manager") == manager and entry.get("operation") == "Update" and not _is_status(entry)


def _is_status(entry: dict[str, Any]) -> bool:
    return bool(entry.get("subresource")) or set(entry.get("fieldsV1") or {}) == {"f:status"}


def last_applied(live: dict[str, Any]) -> dict[str, Any] | None:
    """Return the manifest that ``kubectl apply`` gave last, while its fields are not ours yet; ``None`` otherwise.

    It is what tells the manifest's fields from those that defaults and controllers filled in.
    """
    owned = entries(live)
    if owned and not any(_is_earlier(x) for x in owned):
        return None
    try:
        manifest = json.loads(((live["metadata"].get("annotations")) or {}).get(LAST_APPLIED, ""))
    except ValueError:
        return None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("metadata"), dict):
        return None
    kept = {key: live["metadata"][key] for key in ("name", "namespace") if key in live["metadata"]}
    metadata = {k: v for k, v in {**manifest["metadata"], **kept}.items() if k not in _SERVER_SET}
    content = {k: v for k, v in manifest.items() if k != "status"}
    return {**content, "apiVersion": live["apiVersion"], "kind": live["kind"], "metadata": metadata}


def applied_fields(item: dict[str, Any], manager: str) -> dict[str, Any]:
    """Return the FieldsV1 that a manager applies."""
    for entry in entries(item):
        if entry.get("manager") == manager and entry.get("operation") == "Apply":
            return dict(entry.get("fieldsV1") or {})
    return {}


def written_fields(item: dict[str, Any], manager: str) -> dict[str, Any]:
    """Return the FieldsV1 of what a manager wrote otherwise than by applying."""
    found: dict[str, Any] = {}
    for entry in entries(item):
        if _is_written(entry, manager):
            found = union(found, entry.get("fieldsV1") or {})
    return found


def paths_of_others(item: dict[str, Any], manager: str) -> set[Path]:
    """Return the paths of what others than ``manager`` and earlier tools own, and all that leads to them."""
    found: set[Path] = set()
    for entry in entries(item):
        if entry.get("manager") != manager and not _is_earlier(entry):
            found |= _with_parents(field_paths(entry.get("fieldsV1") or {}))
    return found


def taken_over(live: dict[str, Any], manager: str, fields: dict[str, Any]) -> list[dict[str, Any]]:
    """Return managedFields in which ``manager`` applies ``fields`` and earlier tools own nothing.

    What it wrote otherwise is its own no more, either: it would hold on to what it no longer applies.
    """
    ours = union(applied_fields(live, manager), fields)
    kept = [
        x for x in entries(live)
        if not _is_earlier(x) and not _is_written(x, manager)
        and not (x.get("manager") == manager and x.get("operation") == "Apply")
    ]  # fmt: skip
    mine = {
        "manager": manager,
        "operation": "Apply",
        "apiVersion": live["apiVersion"],
        "fieldsType": "FieldsV1",
        "fieldsV1": ours,
    }
    return [mine, *copy.deepcopy(kept)]


def union(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that are in either FieldsV1 set."""
    merged = dict(left)
    for key, value in right.items():
        merged[key] = union(merged[key], value) if key in merged else value
    return merged


def common(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that are in both FieldsV1 sets."""
    found: dict[str, Any] = {}
    for key in left.keys() & right.keys():
        below = common(left[key], right[key])
        if below or not left[key] or not right[key]:
            found[key] = below
    return found


def replacing(live: dict[str, Any], wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the JSON patch that gives ``live`` the content of ``wanted``; identity and status are left alone."""
    operations = []
    for key in (*live, *(x for x in wanted if x not in live)):
        if key in ("apiVersion", "kind", "metadata", "status") or live.get(key) == wanted.get(key):
            continue
        operations.append(_operation(f"/{key}", live.get(key), wanted.get(key)))
    for key in ("labels", "annotations", "finalizers", "ownerReferences"):
        old, new = live["metadata"].get(key), wanted["metadata"].get(key)
        if old != new:
            operations.append(_operation(f"/metadata/{key}", old, new))
    return operations


def _operation(path: str, old: Any, new: Any) -> dict[str, Any]:
    if new is None:
        return {"op": "remove", "path": path}
    return {"op": "add" if old is None else "replace", "path": path, "value": new}


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


def remove(value: Any, path: Path) -> None:
    """Remove what a path leads to from an object, if it leads anywhere."""
    holder, step = follow(value, path[:-1]), path[-1]
    if step.startswith("f:") and isinstance(holder, dict):
        holder.pop(step[2:], None)
    elif isinstance(holder, list):
        holder[:] = [x for x in holder if not _is_item(x, step)]


def follow(value: Any, path: Sequence[str]) -> Any:
    """Return what a path leads to in an object, ``None`` when it leads nowhere."""
    for step in path:
        if step.startswith("f:") and isinstance(value, dict):
            value = value.get(step[2:])
        elif isinstance(value, list):
            value = find_item(value, step)
        else:
            return None
    return value


def find_item(items: Sequence[Any], step: str) -> Any:
    """Return the item of a list that a step (``k:`` or ``v:``) names, ``None`` when there is none."""
    return next((x for x in items if _is_item(x, step)), None)


def _is_item(item: Any, step: str) -> bool:
    wanted: Any = json.loads(step[2:]) if step[:2] in ("k:", "v:") else {}
    if step.startswith("k:"):
        return isinstance(item, dict) and all(key_value(item, key) == value for key, value in wanted.items())
    return step.startswith("v:") and bool(item == wanted)


def key_value(item: dict[str, Any], key: str) -> Any:
    """Return a key of a list's item; the API server keys ports by protocol, which may be left out where it is TCP."""
    return item.get(key, "TCP" if key == "protocol" else None)
