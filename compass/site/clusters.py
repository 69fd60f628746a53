"""Cluster objects of a control cluster (``clusters.resource.caicloud.io``): which clusters, and how to reach each."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compass.bundle.definition import Role
from compass.bundle.legacy import KUBECONFIG_TEMPLATE
from compass.documents import load_yaml
from compass.errors import CompassError, InvalidInput
from compass.site.access import Access, parse_kubeconfig

API_VERSION = "resource.caicloud.io/v1beta1"
KIND = "Cluster"
_WORDS = (
    "endpointIP:endpointPort",
    "clusterName",
    "kubeUser",
    "kubePassword",
    "authorityData",
    "certificateData",
    "keyData",
)


@dataclass(frozen=True)
class Member:
    """One cluster of a site: what its Cluster object says, credentials aside.

    ``problem`` is why it cannot be reached from what the object says; empty when it can.
    """

    name: str
    role: Role
    endpoint: str
    port: str
    problem: str = ""


def read_members(objects: Sequence[dict[str, Any]], where: str) -> list[Member]:
    """Return the clusters of a site, the control cluster first, then by name.

    Raises:
        InvalidInput: there is none, or no control cluster, or more than one.
    """
    members = [_member(x, where) for x in objects]
    if not members:
        raise InvalidInput("find clusters on", where, found=f"no {KIND} object", expected="at least one")
    controls = [x.name for x in members if x.role == "control"]
    if len(controls) != 1:
        found = f"{len(controls)} with spec.isControlCluster ({', '.join(sorted(controls))})" if controls else "none"
        raise InvalidInput("find the control cluster on", where, found=found, expected="one")
    return sorted(members, key=lambda x: (x.role != "control", x.name))


def _member(item: dict[str, Any], where: str) -> Member:
    name = str(item["metadata"]["name"])
    spec = _mapping(item.get("spec"))
    auth = _mapping(spec.get("auth"))
    role: Role = "control" if spec.get("isControlCluster") is True else "user"
    member = Member(name, role, str(auth.get("endpointIP") or ""), str(auth.get("endpointPort") or ""))
    if role == "control":
        return member
    try:
        member_access(item, None, where)
    except CompassError as error:
        return Member(member.name, role, member.endpoint, member.port, str(error))
    return member


def member_access(item: dict[str, Any], template: str | None, where: str) -> Access:
    """Return how to reach the cluster that a Cluster object describes.

    A bundle's ``templates/kubeconfig.j2`` is used where it is given and the object has what it asks for; otherwise
    the object's ``kubeConfig``, ``kubeToken``, or ``kubeUser`` with ``kubePassword``, in this order.

    Raises:
        InvalidInput: the object has no address or no credentials; they are named, never shown.
    """
    name = str(item["metadata"]["name"])
    what = f"{KIND}/{name} on {where}"
    auth = _mapping(item.get("spec")).get("auth")
    if not isinstance(auth, dict):
        raise InvalidInput("read", what, found="no spec.auth", expected="an address and credentials")
    if template is not None:
        access = _from_template(template, name, auth, what)
        if access:
            return access
    if isinstance(auth.get("kubeConfig"), dict):
        return parse_kubeconfig(_as_lists(auth["kubeConfig"], what), f"{what}, spec.auth.kubeConfig")
    server = f"https://{_required(auth, 'endpointIP', what)}:{_required(auth, 'endpointPort', what)}"
    # Such an object carries no authority to check the server against; the old scripts did not check either.
    if auth.get("kubeToken"):
        return Access(server, what, skip_tls_verify=True, token=str(auth["kubeToken"]))
    if auth.get("kubeUser"):
        password = _required(auth, "kubePassword", what)
        return Access(server, what, skip_tls_verify=True, username=str(auth["kubeUser"]), password=password)
    raise InvalidInput("read", what, found="no credentials", expected="kubeConfig, kubeToken or kubeUser in spec.auth")


def _from_template(template: str, name: str, auth: dict[str, Any], what: str) -> Access | None:
    """Fill the legacy template's bare words; ``None`` when the object lacks what the template asks for."""
    words = {
        "endpointIP:endpointPort": f"{auth['endpointIP']}:{auth['endpointPort']}" if _has_endpoint(auth) else "",
        "clusterName": name,
        "kubeUser": auth.get("kubeUser"),
        "kubePassword": auth.get("kubePassword"),
        **_certificate_words(auth),
    }
    asked = [word for word in _WORDS if re.search(rf"\b{word}\b", template)]
    if "endpointIP:endpointPort" not in asked or any(not words.get(x) for x in asked):
        return None
    # Filled in after parsing: a password may hold what would be YAML syntax in the text.
    pattern = re.compile(r"\b(" + "|".join(asked) + r")\b")
    filled = _fill(load_yaml(template, f"{KUBECONFIG_TEMPLATE} for {what}"), pattern, words)
    return parse_kubeconfig(filled, f"{KUBECONFIG_TEMPLATE} for {what}")


def _has_endpoint(auth: dict[str, Any]) -> bool:
    return bool(auth.get("endpointIP") and auth.get("endpointPort"))


def _fill(value: Any, pattern: re.Pattern[str], words: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _fill(x, pattern, words) for key, x in value.items()}
    if isinstance(value, list):
        return [_fill(x, pattern, words) for x in value]
    return pattern.sub(lambda match: str(words[match[1]]), value) if isinstance(value, str) else value


def _certificate_words(auth: dict[str, Any]) -> dict[str, Any]:
    config = auth.get("kubeConfig")
    if not isinstance(config, dict):
        return {}
    cluster = _decoded(next(iter(_maps(config.get("clusters"))), {}))
    user = _decoded(next(iter(_maps(config.get("users"))), {}))
    return {
        "authorityData": cluster.get("certificate-authority-data"),
        "certificateData": user.get("client-certificate-data"),
        "keyData": user.get("client-key-data"),
    }


def _maps(value: Any) -> list[dict[str, Any]]:
    return [x for x in value.values() if isinstance(x, dict)] if isinstance(value, dict) else []


def _as_lists(config: dict[str, Any], what: str) -> dict[str, Any]:
    """Turn the maps by name of a Cluster object into the lists of a kubeconfig."""
    document: dict[str, Any] = {"current-context": config.get("current-context") or config.get("currentContext") or ""}
    for key, one in (("clusters", "cluster"), ("users", "user"), ("contexts", "context")):
        entries = config.get(key)
        if not isinstance(entries, dict):
            raise InvalidInput("read", what, found=f"spec.auth.kubeConfig without {key}", expected="a map by name")
        document[key] = [{"name": name, one: _decoded(body)} for name, body in entries.items()]
    return document


def _decoded(body: Any) -> Any:
    """Return an entry as a kubeconfig has it: ``-data`` in base64, PEM text encoded if it came plain."""
    if not isinstance(body, dict):
        return body
    return {
        key: base64.b64encode(value.encode()).decode()
        if key.endswith("-data") and isinstance(value, str) and value.lstrip().startswith("-----BEGIN")
        else value
        for key, value in body.items()
    }


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _required(auth: dict[str, Any], key: str, what: str) -> str:
    value = auth.get(key)
    if not value:
        raise InvalidInput("read", what, found=f"no spec.auth.{key}", expected="one")
    return str(value)
