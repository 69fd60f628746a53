"""What a server refuses in an object's metadata, with its words.

Source: kubernetes.io, Object Names and IDs; Labels and Selectors, section Syntax and character set.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from rehearsal.api.kinds import Resource

Json = dict[str, Any]
Cause = tuple[str, str, str]  # reason, field, message
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_DNS1035 = r"[a-z]([-a-z0-9]*[a-z0-9])?"
_NAMES = {
    "subdomain": (
        _SUBDOMAIN,
        253,
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
        "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
        rf"'{_LABEL}(\.{_LABEL})*')",
    ),
    "label": (
        _LABEL,
        63,
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
        f"with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')",
    ),
    "dns1035": (
        _DNS1035,
        63,
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
        "character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation "
        f"is '{_DNS1035}')",
    ),
}
_NAME_RULES = {"Service": "dns1035", "Namespace": "label"}
_PATH_NAMES = frozenset({"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"})
_QUALIFIED = re.compile(r"([A-Za-z0-9.-]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


def causes(resource: Resource, item: Json, live: Json | None) -> Iterator[Cause]:
    """Yield what is wrong with the metadata of an object; ``live`` is what it replaces."""
    metadata = item["metadata"]
    if live is None:
        yield from name_causes(resource.kind, str(metadata.get("name") or ""))
    for key, value in (metadata.get("labels") or {}).items():
        yield from _label("metadata.labels", key, value)
    for key in metadata.get("annotations") or {}:
        if not _QUALIFIED.fullmatch(key.lower()):
            yield "FieldValueInvalid", "metadata.annotations", f"Invalid value: {json.dumps(key)}: {_QUALIFIED_WORDS}"
    if live is None:
        return
    for key in ("uid", "creationTimestamp"):
        if metadata.get(key) != live["metadata"].get(key):
            yield (
                "FieldValueInvalid",
                f"metadata.{key}",
                f"Invalid value: {json.dumps(metadata.get(key))}: field is immutable",
            )
    added = [x for x in metadata.get("finalizers") or [] if x not in (live["metadata"].get("finalizers") or [])]
    if "deletionTimestamp" in live["metadata"] and added:
        shown = "[]string{" + ", ".join(json.dumps(x) for x in added) + "}"
        text = f"Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers {shown}"
        # Looked at once for every object, and once more for the built-in kinds.
        yield from [("FieldValueForbidden", "metadata.finalizers", text)] * (1 if resource.is_custom else 2)


_QUALIFIED_WORDS = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_WORDS = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


def _label(where: str, key: str, value: str) -> Iterator[Cause]:
    if not _QUALIFIED.fullmatch(key):
        yield "FieldValueInvalid", where, f"Invalid value: {json.dumps(key)}: {_QUALIFIED_WORDS}"
    if not _LABEL_VALUE.fullmatch(str(value)):
        yield "FieldValueInvalid", where, f"Invalid value: {json.dumps(value)}: {_VALUE_WORDS}"


def name_causes(kind: str, name: str) -> Iterator[Cause]:
    """Yield what is wrong with a name."""
    if not name:
        yield "FieldValueRequired", "metadata.name", "Required value: name or generateName is required"
        return
    if kind in _PATH_NAMES:
        if name in (".", "..") or "/" in name or "%" in name:
            yield "FieldValueInvalid", "metadata.name", f"Invalid value: {json.dumps(name)}: may not contain '/'"
        return
    pattern, length, words = _NAMES[_NAME_RULES.get(kind, "subdomain")]
    if len(name) > length:
        words = f"must be no more than {length} characters"
    elif re.fullmatch(pattern, name):
        return
    yield "FieldValueInvalid", "metadata.name", f"Invalid value: {json.dumps(name)}: {words}"
