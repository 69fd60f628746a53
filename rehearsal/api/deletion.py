"""Deletion: at once, with grace, held by finalizers; and what happens to what an object owns.

Source: kubernetes.io, Garbage Collection; Finalizers; k8s.io/apiserver pkg/registry/rest/delete.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from compass.clock import iso
from rehearsal.api.kinds import Resource
from rehearsal.api.objects import Objects
from rehearsal.api.status import ApiError, bad_request, conflict, invalid, refused

Json = dict[str, Any]
FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
_POLICIES = ("Background", "Foreground", "Orphan")
_PROTECTED = frozenset({"default", "kube-system", "kube-public"})


@dataclass(frozen=True)
class Options:
    """DeleteOptions, from the body or the query."""

    grace_seconds: int | None = None
    uid: str = ""
    version: str = ""
    policy: str = ""
    dry_run: bool = False

    @classmethod
    def of(cls, body: Json, query: dict[str, str]) -> Options:
        """Read options.

        Raises:
            ApiError: they make no sense.
        """
        policy = body.get("propagationPolicy") or query.get("propagationPolicy") or ""
        orphan = body.get("orphanDependents", query.get("orphanDependents"))
        if policy and orphan is not None:
            raise bad_request("orphanDependents and deletionPropagation cannot be both set")
        if policy and policy not in _POLICIES:
            text = f'Unsupported value: "{policy}": supported values: "Background", "Foreground", "Orphan", "nil"'
            raise invalid("DeleteOptions", "meta.k8s.io", "", [("FieldValueNotSupported", "propagationPolicy", text)])
        if orphan is not None:
            policy = "Orphan" if str(orphan).lower() == "true" else "Background"
        seconds = body.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
        wanted = body.get("preconditions") or {}
        dry_run = body.get("dryRun") or ([query["dryRun"]] if query.get("dryRun") else [])
        return cls(
            int(seconds) if seconds is not None else None, wanted.get("uid") or "",
            wanted.get("resourceVersion") or "", policy, dry_run == ["All"],
        )  # fmt: skip


def delete(objects: Objects, resource: Resource, namespace: str, name: str, options: Options) -> tuple[Json, bool]:
    """Delete an object; returns its last state and whether it is gone.

    Raises:
        ApiError: there is none, or it is not the one that was meant.
    """
    live = objects.get(resource, namespace, name)
    if resource.kind == "Namespace" and name in _PROTECTED:
        raise refused("namespaces", "", name, "this namespace may not be deleted")
    _check(resource, live, options)
    grace = _grace(resource, live, options)
    finalizers = _finalizers(resource, live, options)
    metadata = {**live["metadata"]}
    is_pending = "deletionTimestamp" in metadata
    held = bool(finalizers) or (resource.kind == "Namespace" and bool((live.get("spec") or {}).get("finalizers")))
    if not held and grace == 0:
        return (live, True) if options.dry_run else (_remove(objects, resource, live), True)
    if is_pending and metadata.get("deletionGracePeriodSeconds", 0) <= grace and finalizers == _listed(live):
        return live, False
    if finalizers:
        metadata["finalizers"] = finalizers
    metadata["deletionTimestamp"] = iso(datetime.now(UTC) + timedelta(seconds=grace))
    item = {**live, "metadata": metadata}
    if resource.kind == "Namespace":
        item["status"] = {**(live.get("status") or {}), "phase": "Terminating"}
    elif resource.kind == "CustomResourceDefinition":
        item["status"] = _terminating(live.get("status") or {})
    else:
        metadata["deletionGracePeriodSeconds"] = grace
        if "generation" in metadata and not is_pending:
            metadata["generation"] += 1
    return (item, False) if options.dry_run else (objects.store.put(resource.key, item), False)


def _terminating(status: Json) -> Json:
    condition = {
        "type": "Terminating", "status": "True", "lastTransitionTime": iso(datetime.now(UTC)),
        "reason": "InstanceDeletionPending",
        "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
    }  # fmt: skip
    others = [x for x in status.get("conditions") or [] if x["type"] != "Terminating"]
    return {**status, "conditions": [*others, condition]}


def _remove(objects: Objects, resource: Resource, live: Json) -> Json:
    return objects.store.remove(resource.key, live)


def _listed(item: Json) -> list[str]:
    return list(item["metadata"].get("finalizers") or [])


def _finalizers(resource: Resource, live: Json, options: Options) -> list[str]:
    """Return what will hold the object."""
    policy = options.policy
    if not policy and resource.kind in ("Job", "CronJob") and resource.version == "v1":
        policy = "Orphan"
    found = _listed(live)
    if policy:
        found = [x for x in found if x not in (FOREGROUND, ORPHAN)]
    if policy == "Foreground":
        found.append(FOREGROUND)
    elif policy == "Orphan":
        found.append(ORPHAN)
    if resource.kind == "CustomResourceDefinition" and CLEANUP not in found:
        found.append(CLEANUP)  # its objects go first
    return found


def _grace(resource: Resource, live: Json, options: Options) -> int:
    """Return the seconds that a pod gets; everything else goes at once."""
    if resource.kind != "Pod":
        return 0
    spec, phase = live["spec"], (live.get("status") or {}).get("phase")
    wanted = options.grace_seconds
    seconds = wanted if wanted is not None else int(spec.get("terminationGracePeriodSeconds", 30))
    # Nobody runs it (yet, or any more): nobody needs time.
    return 0 if not spec.get("nodeName") or phase in ("Succeeded", "Failed") else seconds


def _check(resource: Resource, live: Json, options: Options) -> None:
    metadata = live["metadata"]
    for what, wanted, found, hint in (
        ("UID", options.uid, metadata["uid"], "The object might have been deleted and then recreated"),
        ("ResourceVersion", options.version, metadata["resourceVersion"], "The object might have been modified"),
    ):
        if wanted and wanted != found:
            why = f"the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). {hint}"
            raise _precondition(resource, metadata["name"], why)


def _precondition(resource: Resource, name: str, why: str) -> ApiError:
    return conflict(resource.kind, resource.group, name, why)


def finalize(objects: Objects, resource: Resource, item: Json, finalizer: str) -> None:
    """Take a finalizer off an object; the last one lets it go."""
    namespace, name = item["metadata"].get("namespace", ""), item["metadata"]["name"]
    live = objects.store.get(resource.key, namespace, name)
    if live is None or finalizer not in _listed(live):
        return
    left = [x for x in _listed(live) if x != finalizer]
    metadata = {k: v for k, v in live["metadata"].items() if k != "finalizers"}
    if left:
        metadata["finalizers"] = left
    changed = objects.store.put(resource.key, {**live, "metadata": metadata})
    if not left and "deletionTimestamp" in metadata and not metadata.get("deletionGracePeriodSeconds"):
        objects.store.remove(resource.key, changed)
