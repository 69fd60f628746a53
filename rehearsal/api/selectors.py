"""Label and field selectors.

Source: kubernetes.io, Labels and Selectors; Field Selectors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from rehearsal.api.status import ApiError, bad_request

Json = dict[str, Any]
Matches = Callable[[Json], bool]
_SET = re.compile(r"^\s*([^\s,!=()]+)\s+(in|notin)\s*\(([^)]*)\)\s*$")
_EQUAL = re.compile(r"^\s*([^\s,!=()]+)\s*(==|=|!=)\s*([^\s,!=()]*)\s*$")
_EXISTS = re.compile(r"^\s*(!?)\s*([^\s,!=()]+)\s*$")
_COMMA = re.compile(r",(?![^(]*\))")
_ALWAYS = frozenset({"metadata.name", "metadata.namespace"})
_BY_KIND = {
    "Pod": frozenset({"spec.nodeName", "status.phase", "spec.restartPolicy", "spec.serviceAccountName",
                      "spec.schedulerName", "status.podIP"}),
    "Event": frozenset({"involvedObject.uid", "involvedObject.name", "involvedObject.kind", "involvedObject.namespace",
                        "involvedObject.apiVersion", "involvedObject.fieldPath", "involvedObject.resourceVersion",
                        "type", "reason", "source", "reportingComponent"}),
    "Secret": frozenset({"type"}),
    "Namespace": frozenset({"status.phase"}),
    "Node": frozenset({"spec.unschedulable"}),
    "ReplicaSet": frozenset({"status.replicas"}),
    "Job": frozenset({"status.successful"}),
}  # fmt: skip


def label_selector(text: str) -> Matches:
    """Return a test for objects from a query's ``labelSelector``.

    Raises:
        ApiError: the text is no selector.
    """
    tests = [_requirement(x) for x in _COMMA.split(text) if x.strip()]

    def matches(item: Json) -> bool:
        labels = item["metadata"].get("labels") or {}
        return all(test(labels) for test in tests)

    return matches


def _requirement(text: str) -> Callable[[Json], bool]:
    found = _SET.match(text)
    if found:
        key, verb, values = found[1], found[2], {x.strip() for x in found[3].split(",")}
        if verb == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    found = _EQUAL.match(text)
    if found:
        key, verb, value = found[1], found[2], found[3]
        if verb == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    found = _EXISTS.match(text)
    if found:
        absent, key = bool(found[1]), found[2]
        return lambda labels: (key in labels) != absent
    raise bad_request(f'unable to parse requirement: found {text.strip()!r}, expected: identifier after "," or "="')


def selects(selector: Json | None, labels: Json) -> bool:
    """Tell whether a LabelSelector, as workloads carry it, takes these labels; none at all takes nothing."""
    if not selector:
        return False
    if any(labels.get(k) != v for k, v in (selector.get("matchLabels") or {}).items()):
        return False
    for rule in selector.get("matchExpressions") or []:
        value, values = labels.get(rule["key"]), rule.get("values") or []
        holds = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }[rule["operator"]]
        if not holds:
            return False
    return True


def field_selector(text: str, kind: str) -> Matches:
    """Return a test for objects from a query's ``fieldSelector``.

    Raises:
        ApiError: the text is no selector, or names a field that the kind cannot be selected by.
    """
    tests: list[tuple[str, bool, str]] = []
    for part in filter(None, (x.strip() for x in text.split(","))):
        found = _EQUAL.match(part)
        if not found:
            raise bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
        if found[1] not in _ALWAYS | _BY_KIND.get(kind, frozenset()):
            raise _unsupported(found[1], kind)
        tests.append((found[1], found[2] == "!=", found[3]))

    def matches(item: Json) -> bool:
        return all((_value(item, field) == value) != negated for field, negated, value in tests)

    return matches


def _unsupported(field: str, kind: str) -> ApiError:
    if kind in _BY_KIND:
        return bad_request(f"field label not supported: {field}")
    return bad_request(f'"{field}" is not a known field selector: only "metadata.name", "metadata.namespace"')


def _value(item: Json, field: str) -> str:
    value: Any = item
    if field == "source":
        value = (item.get("source") or {}).get("component", "")
        return str(value)
    for step in field.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "false" if field == "spec.unschedulable" else ""
    return str(value)


def both(tests: Iterable[Matches]) -> Matches:
    """Return a test that holds when all of them do."""
    listed = list(tests)
    return lambda item: all(test(item) for test in listed)
