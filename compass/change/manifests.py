"""Rendered text turned into manifests: checked, in the order of apply, changed as the bundle asks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from compass.documents import load_all_yaml
from compass.errors import CompassError, InvalidInput
from compass.names import ImageName, ObjectRef, dns_name

# What others need comes first; deletions go the other way round.
_ORDER = (
    "Namespace", "CustomResourceDefinition", "PriorityClass", "StorageClass", "ResourceQuota", "LimitRange",
    "ServiceAccount", "Secret", "ConfigMap", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding",
    "PersistentVolume", "PersistentVolumeClaim", "Service", "NetworkPolicy", "DaemonSet", "Deployment", "StatefulSet",
    "ReplicaSet", "Pod", "Job", "CronJob", "PodDisruptionBudget", "HorizontalPodAutoscaler", "Ingress", "APIService",
    "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration",
)  # fmt: skip
_RANK = {kind: rank for rank, kind in enumerate(_ORDER)}
_CUSTOM = _RANK["PodDisruptionBudget"]
_WORKLOADS = frozenset({"Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "Job", "Pod", "CronJob"})


@dataclass(frozen=True)
class Desired:
    """One object that a component wants; ``source`` is the template that it comes from."""

    component: str
    source: str
    manifest: dict[str, Any]

    @property
    def ref(self) -> ObjectRef:
        """The object's name."""
        return ObjectRef.of(self.manifest)


def parse_manifests(text: str, component: str, source: str) -> list[Desired]:
    """Return the objects of a rendered template in its order; lists are flattened.

    Raises:
        InvalidInput: no YAML, or a document that is no object with apiVersion, kind and metadata.name.
    """
    found: list[Desired] = []
    for number, document in enumerate(load_all_yaml(text, f"template {source}"), 1):
        where = f"template {source}, document {number}"
        for manifest in _flatten(document, where):
            _check(manifest, where)
            found.append(Desired(component, source, manifest))
    return found


def _flatten(document: Any, where: str) -> Iterator[Any]:
    is_list = isinstance(document, dict) and str(document.get("kind", "")).endswith("List") and "items" in document
    if not is_list:
        yield document
        return
    if not isinstance(document["items"], list):
        raise InvalidInput("read", where, found="items that are no list", expected="objects")
    for item in document["items"]:
        yield from _flatten(item, where)


def _check(manifest: Any, where: str) -> None:
    if not isinstance(manifest, dict):
        raise InvalidInput("read", where, found=f"a {type(manifest).__name__}", expected="a Kubernetes object")
    metadata = manifest.get("metadata")
    fields = {"apiVersion": manifest.get("apiVersion"), "kind": manifest.get("kind")}
    fields["metadata.name"] = metadata.get("name") if isinstance(metadata, dict) else None
    for field, value in fields.items():
        if not isinstance(value, str) or not value:
            raise InvalidInput("read", where, found=f"{field} is {value!r}", expected="a text")
    namespace = metadata.get("namespace") if isinstance(metadata, dict) else None
    if namespace is not None and not isinstance(namespace, str):
        raise InvalidInput("read", where, found=f"metadata.namespace is {namespace!r}", expected="a text")
    try:
        dns_name(str(fields["metadata.name"]).replace(":", "-"), "metadata.name")
    except CompassError as error:
        raise InvalidInput("read", where, found=str(error)) from None


def complete(desired: Sequence[Desired], is_namespaced: Callable[[str, str], bool]) -> list[Desired]:
    """Return the objects with the namespace that each will have: ``default`` where none is given, as kubectl does.

    Raises:
        InvalidInput: two templates or documents give one object.
    """
    done, seen = [], dict[tuple[str, str, str, str], str]()
    for item in desired:
        manifest = copy.deepcopy(item.manifest)
        metadata = manifest["metadata"]
        if is_namespaced(manifest["apiVersion"], manifest["kind"]):
            metadata["namespace"] = metadata.get("namespace") or "default"
        else:
            metadata.pop("namespace", None)
        for unwanted in ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation"):
            metadata.pop(unwanted, None)
        manifest.pop("status", None)
        ref = ObjectRef.of(manifest)
        if ref.identity in seen:
            raise InvalidInput("read", f"template {item.source}", found=f"{ref}, also in {seen[ref.identity]}",
                               expected="each object once")  # fmt: skip
        seen[ref.identity] = item.source
        done.append(Desired(item.component, item.source, manifest))
    return done


def apply_order(ref: ObjectRef) -> int:
    """Return the rank of a kind: namespaces and definitions first, then what others mount or call, then workloads."""
    return _RANK.get(ref.kind, _CUSTOM)


def sort_for_apply(desired: Sequence[Desired]) -> list[Desired]:
    """Return the objects in the order of apply; within a kind the order of the definition stays."""
    return sorted(desired, key=lambda x: apply_order(x.ref))


def drop_init_containers(item: Desired, names: Sequence[str]) -> Desired:
    """Return the object without the init containers of these names."""
    spec = pod_spec(item.manifest)
    if not names or spec is None or not isinstance(spec.get("initContainers"), list):
        return item
    manifest = copy.deepcopy(item.manifest)
    spec = pod_spec(manifest)
    if spec is not None:
        kept = [x for x in spec["initContainers"] if not (isinstance(x, dict) and x.get("name") in names)]
        spec["initContainers"] = kept
        if not kept:
            del spec["initContainers"]
    return Desired(item.component, item.source, manifest)


def move_images(item: Desired, source: str, registry: str) -> Desired:
    """Return the object with images of the build registry ``source`` taken from the site's ``registry``."""
    prefix = f"{source}/"
    if not source or not any(str(x.get("image", "")).startswith(prefix) for x in _containers(item.manifest)):
        return item
    manifest = copy.deepcopy(item.manifest)
    for container in _containers(manifest):
        if str(container.get("image", "")).startswith(prefix):
            container["image"] = f"{registry}/{container['image'].removeprefix(prefix)}"
    return Desired(item.component, item.source, manifest)


def _containers(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    spec = pod_spec(manifest) or {}
    lists = [x for x in (spec.get("initContainers"), spec.get("containers")) if isinstance(x, list)]
    return [x for listed in lists for x in listed if isinstance(x, dict)]


def pod_spec(manifest: dict[str, Any]) -> dict[str, Any] | None:
    """Return the pod spec inside a workload, ``None`` for what makes no pods."""
    if manifest.get("kind") not in _WORKLOADS:
        return None
    path = {"Pod": ("spec",), "CronJob": ("spec", "jobTemplate", "spec", "template", "spec")}.get(
        str(manifest["kind"]), ("spec", "template", "spec")
    )
    here: Any = manifest
    for key in path:
        here = here.get(key) if isinstance(here, dict) else None
    return here if isinstance(here, dict) else None


def container_images(manifest: dict[str, Any], where: str) -> dict[str, str]:
    """Return the image that each of a workload's containers asks for, init containers first.

    Raises:
        InvalidInput: a container has no name or image, or the image's name is wrong.
    """
    images: dict[str, str] = {}
    for container in _containers(manifest):
        name, image = container.get("name"), container.get("image")
        if not isinstance(name, str) or not isinstance(image, str) or not image:
            raise InvalidInput("read", where, found="a container without name or image", expected="both")
        try:
            ImageName.parse(image)
        except CompassError as error:
            raise InvalidInput("read", where, found=str(error)) from None
        images[name] = image
    return images
