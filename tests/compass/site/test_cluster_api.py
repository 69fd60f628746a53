"""Kubeconfigs that Cluster API keeps are read from their Secrets, whose content is never shown."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from compass.documents import dump_yaml
from compass.errors import InvalidInput
from compass.names import ObjectRef
from compass.site.cluster_api import secret_access, secret_ref

KUBECONFIG = {
    "current-context": "seven-admin@seven",
    "clusters": [{"name": "seven", "cluster": {"server": "https://10.0.0.7:6443"}}],
    "contexts": [{"name": "seven-admin@seven", "context": {"cluster": "seven", "user": "seven-admin"}}],
    "users": [{"name": "seven-admin", "user": {"token": "hunter2"}}],
}


def secret(value: str) -> dict[str, Any]:
    return {"type": "cluster.x-k8s.io/secret", "data": {"value": value}}


def encoded(document: object) -> str:
    return base64.b64encode(dump_yaml(document).encode()).decode()


def test_the_secret_is_named_after_the_cluster() -> None:
    assert secret_ref("fleet/seven") == ObjectRef("v1", "Secret", "fleet", "seven-kubeconfig")


@pytest.mark.parametrize("place", ["seven", "", "/seven", "fleet/", "fleet/seven/x", "Fleet/seven", "../seven"])
def test_a_place_that_names_no_cluster_is_refused(place: str) -> None:
    with pytest.raises(InvalidInput, match="read clusterAPI"):
        secret_ref(place)


def test_its_kubeconfig_says_how_to_reach_the_cluster() -> None:
    access = secret_access(secret(encoded(KUBECONFIG)), "Secret/fleet/seven-kubeconfig on here")
    assert (access.server, access.token) == ("https://10.0.0.7:6443", "hunter2")
    assert access.where == "Secret/fleet/seven-kubeconfig on here"


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (None, "no such Secret"),
        ({"type": "Opaque"}, "no key 'value'"),
        ({"data": None}, "no key 'value'"),
        (secret("hunter2 2"), "'value' is no base64"),
        (secret(base64.b64encode(b"\xffhunter2").decode()), "expected YAML"),
        (secret(encoded({"password": "hunter2"})), "no list of clusters"),
        (secret(encoded({**KUBECONFIG, "current-context": "x"})), "no context 'x'"),
    ],
    ids=["absent", "no data", "null", "no base64", "no text", "no kubeconfig", "no context"],
)
def test_a_secret_that_holds_no_kubeconfig_is_named_and_not_shown(found: dict[str, Any] | None, words: str) -> None:
    with pytest.raises(InvalidInput) as error:
        secret_access(found, "Secret/fleet/seven-kubeconfig on here")
    assert "Secret/fleet/seven-kubeconfig on here" in str(error.value)
    assert words in str(error.value)
    assert "hunter2" not in str(error.value)
