"""The small doors beside an object: binding, eviction, scale, log."""

from __future__ import annotations

from typing import Any

from rehearsal.api.deletion import Options, delete
from rehearsal.api.kinds import Resource
from rehearsal.api.objects import Objects, Write, now
from rehearsal.api.paths import Wanted
from rehearsal.api.status import ApiError, bad_request, conflict, method_not_allowed

Json = dict[str, Any]
_SUCCESS = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def answer(objects: Objects, resource: Resource, wanted: Wanted, body: Json, write: Write) -> Json | str:
    """Answer a request to a subresource.

    Raises:
        ApiError: it cannot be done.
    """
    if wanted.subresource == "binding" and wanted.verb == "create":
        bind(objects, resource, wanted.namespace, wanted.name, (body.get("target") or {}).get("name", ""))
        return dict(_SUCCESS)
    if wanted.subresource == "eviction" and wanted.verb == "create":
        delete(objects, resource, wanted.namespace, wanted.name, Options.of(body.get("deleteOptions") or {}, {}))
        return dict(_SUCCESS)
    if wanted.subresource == "log" and wanted.verb == "get":
        objects.get(resource, wanted.namespace, wanted.name)
        return "this container is simulated: it runs in name only and writes nothing\n"
    if wanted.subresource == "scale":
        return _scale(objects, resource, wanted, body, write)
    raise method_not_allowed()


def bind(objects: Objects, resource: Resource, namespace: str, name: str, node: str) -> None:
    """Put a pod on a node, as the scheduler does.

    Raises:
        ApiError: it is on one already, or there is none.
    """
    live = objects.get(resource, namespace, name)
    if not node:
        raise bad_request("Binding: target.name: Required value")
    if live["spec"].get("nodeName"):
        why = f'pod {name} is already assigned to node "{live["spec"]["nodeName"]}"'
        raise conflict("pods/binding", "", name, why)
    status = dict(live.get("status") or {})
    status["conditions"] = [
        {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now()}
    ]
    item = {**live, "metadata": dict(live["metadata"]), "spec": {**live["spec"], "nodeName": node}, "status": status}
    objects.store.put(resource.key, item)


def _scale(objects: Objects, resource: Resource, wanted: Wanted, body: Json, write: Write) -> Json:
    live = objects.get(resource, wanted.namespace, wanted.name)
    if wanted.verb in ("update", "patch"):
        replicas = (body.get("spec") or {}).get("replicas")
        if not isinstance(replicas, int) or replicas < 0:
            raise ApiError(422, "Invalid", f'Scale.autoscaling "{wanted.name}" is invalid: spec.replicas')

        def change(item: Json) -> Json:
            return {**item, "spec": {**item["spec"], "replicas": replicas}}

        plain = Write(write.manager, write.dry_run)
        live = objects.change(resource, wanted.namespace, wanted.name, change, plain)
    elif wanted.verb != "get":
        raise method_not_allowed()
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    labels = ((live["spec"].get("selector") or {}).get("matchLabels") or {}).items()
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {k: live["metadata"][k] for k in kept},
        "spec": {"replicas": live["spec"].get("replicas", 0)},
        "status": {
            "replicas": (live.get("status") or {}).get("replicas", 0),
            "selector": ",".join(f"{k}={v}" for k, v in labels),
        },
    }
