"""The pods that a workload made, and what the cluster told about them."""

from __future__ import annotations

from typing import Any

from compass.cluster.client import ClusterClient

REVISION = "deployment.kubernetes.io/revision"
TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


def pods_of(client: ClusterClient, item: dict[str, Any], *, current: bool) -> list[dict[str, Any]]:
    """Return a workload's pods that are not being deleted; only those of its newest revision when ``current``."""
    if item["kind"] == "Pod":
        return [item]
    selector = (item.get("spec") or {}).get("selector")
    if not isinstance(selector, dict):
        return []
    metadata, labels = item["metadata"], selector_text(selector)
    namespace = metadata.get("namespace", "")
    owners = {metadata["uid"]}
    if item["kind"] == "Deployment":
        owners = _replica_sets(client, item, labels, current=current)
    pods = client.list_all("v1", "Pod", namespace, labels=labels)
    mine = [x for x in pods if _owners(x) & owners and not x["metadata"].get("deletionTimestamp")]
    return [x for x in mine if _is_current(item, x)] if current else mine


def _replica_sets(client: ClusterClient, item: dict[str, Any], labels: str, *, current: bool) -> set[str]:
    metadata = item["metadata"]
    sets = client.list_all(item["apiVersion"], "ReplicaSet", metadata.get("namespace", ""), labels=labels)
    mine = [x for x in sets if metadata["uid"] in _owners(x)]
    if current:
        newest = (metadata.get("annotations") or {}).get(REVISION)
        mine = [x for x in mine if (x["metadata"].get("annotations") or {}).get(REVISION) == newest]
    return {x["metadata"]["uid"] for x in mine}


def _is_current(item: dict[str, Any], pod: dict[str, Any]) -> bool:
    labels = pod["metadata"].get("labels") or {}
    if item["kind"] == "StatefulSet":
        return bool(labels.get("controller-revision-hash") == (item.get("status") or {}).get("updateRevision"))
    if item["kind"] == "DaemonSet":
        newest = (item["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION)
        return newest is None or labels.get("pod-template-generation", newest) == newest
    return True


def _owners(item: dict[str, Any]) -> set[str]:
    return {x.get("uid", "") for x in item["metadata"].get("ownerReferences") or [] if x.get("controller")}


def selector_text(selector: dict[str, Any]) -> str:
    """Return a label selector as a query has it."""
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for rule in selector.get("matchExpressions") or []:
        key, values = rule["key"], ",".join(rule.get("values") or [])
        parts.append(
            {
                "In": f"{key} in ({values})",
                "NotIn": f"{key} notin ({values})",
                "Exists": key,
                "DoesNotExist": f"!{key}",
            }[rule["operator"]]
        )
    return ",".join(parts)


def event_messages(client: ClusterClient, pods: list[dict[str, Any]]) -> list[str]:
    """Return what the kubelet and the scheduler reported of these pods, oldest first."""
    messages: list[str] = []
    for pod in pods[:20]:
        metadata = pod["metadata"]
        events = client.list_all(
            "v1", "Event", metadata.get("namespace", ""), fields=f"involvedObject.uid={metadata['uid']},type=Warning"
        )
        messages += [str(x.get("message") or "") for x in sorted(events, key=lambda x: x.get("lastTimestamp") or "")]
    return messages
