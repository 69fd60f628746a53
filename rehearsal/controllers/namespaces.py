"""Namespaces and service accounts: what each begins with, and how it ends."""

from __future__ import annotations

import secrets
from typing import Any

from rehearsal.api.bodies import random_suffix
from rehearsal.api.deletion import Options, delete
from rehearsal.api.objects import CONTROLLER, Objects
from rehearsal.api.status import ApiError
from rehearsal.controllers.garbage import resource_at

Json = dict[str, Any]
NAMESPACES = ("", "namespaces")
ACCOUNTS = ("", "serviceaccounts")
ALWAYS = ("default", "kube-system", "kube-public", "kube-node-lease")
AGAIN_SECONDS = 0.2


def reconcile(objects: Objects, item: Json, ca_pem: str) -> float | None:
    """Furnish a namespace, or empty one that is going; returns after how many seconds to look again."""
    name = item["metadata"]["name"]
    if "deletionTimestamp" not in item["metadata"]:
        _furnish(objects, name, ca_pem)
        return None
    left = [(key, x) for key, x in objects.store.every() if x["metadata"].get("namespace") == name]
    for key, one in left:
        resource = resource_at(objects, key)
        if resource is not None and "deletionTimestamp" not in one["metadata"]:
            delete(objects, resource, name, one["metadata"]["name"], Options(policy="Background"))
    if any(x["metadata"].get("namespace") == name for _, x in objects.store.every()):
        return AGAIN_SECONDS
    live = objects.store.get(NAMESPACES, "", name)
    if live is not None:
        metadata = dict(live["metadata"])
        emptied = objects.store.put(NAMESPACES, {**live, "metadata": metadata, "spec": {}})
        if not metadata.get("finalizers"):
            objects.store.remove(NAMESPACES, emptied)
    return None


def _furnish(objects: Objects, name: str, ca_pem: str) -> None:
    wanted: tuple[tuple[str, Json], ...] = (
        ("ServiceAccount", {"metadata": {"name": "default"}}),
        ("ConfigMap", {"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": ca_pem}}),
    )
    for kind, body in wanted:
        resource = objects.resource("v1", kind)
        if objects.store.get(resource.key, name, body["metadata"]["name"]) is None:
            try:
                objects.create(resource, name, body, CONTROLLER)
            except ApiError as error:
                if error.code not in (403, 404):
                    raise


def give_token(objects: Objects, item: Json, ca_pem: str) -> None:
    """Give a service account the secret that its pods would speak with; nobody here takes the token."""
    metadata = item["metadata"]
    if item.get("secrets") or "deletionTimestamp" in metadata:
        return
    name = f"{metadata['name']}-token-{random_suffix()}"
    values = {"ca.crt": ca_pem, "namespace": metadata["namespace"], "token": secrets.token_urlsafe(48)}
    notes = {
        "kubernetes.io/service-account.name": metadata["name"], "kubernetes.io/service-account.uid": metadata["uid"],
    }  # fmt: skip
    body = {
        "metadata": {"name": name, "annotations": notes},
        "type": "kubernetes.io/service-account-token",
        "stringData": values,
    }
    objects.create(objects.resource("v1", "Secret"), metadata["namespace"], body, CONTROLLER)
    # A real token controller leaves no trace in the managed fields of the account.
    objects.store.put(ACCOUNTS, {**item, "metadata": dict(metadata), "secrets": [{"name": name}]})


def take_tokens(objects: Objects, uid: str, namespace: str) -> None:
    """Delete the secrets of a service account that is gone."""
    for one in objects.store.all(("", "secrets"), namespace):
        if (one["metadata"].get("annotations") or {}).get("kubernetes.io/service-account.uid") == uid:
            objects.store.remove(("", "secrets"), one)
