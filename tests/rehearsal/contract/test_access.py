"""Who may do what; and what the server says of itself."""

from __future__ import annotations

import pytest

from tests.rehearsal.contract.cluster import Cluster, Json, Space, config_map, said


def review(space: Space, token: str | None, **attributes: str) -> bool:
    body = {
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "metadata": {"name": "", "namespace": ""}, "spec": {"resourceAttributes": attributes},
    }  # fmt: skip
    with space.cluster.client(token) as api:
        answer = api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", json=body)
    assert answer.status_code == 201
    return bool(answer.json()["status"]["allowed"])


def test_rights_can_be_asked_for(space: Space) -> None:
    wanted = {"verb": "patch", "group": "apps", "resource": "deployments", "namespace": space.namespace}
    assert review(space, None, **wanted)
    assert not review(space, space.cluster.reader_token, **wanted)


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        ("GET", "/api/v1/pods", 'pods is forbidden: User "reader" cannot list resource "pods" in API group "" at the '
                                "cluster scope"),
        ("GET", "/api/v1/namespaces/default/pods/x", 'pods "x" is forbidden: User "reader" cannot get resource "pods" '
                                                     'in API group "" in the namespace "default"'),
        ("POST", "/apis/apps/v1/namespaces/default/deployments", "deployments.apps is forbidden: User "
         '"reader" cannot create resource "deployments" in API group "apps" in the namespace "default"'),
        ("PATCH", "/api/v1/nodes/x/status", 'nodes "x" is forbidden: User "reader" cannot patch resource '
                                            '"nodes/status" in API group "" at the cluster scope'),
        ("GET", "/nonsense", 'forbidden: User "reader" cannot get path "/nonsense"'),
    ],
)  # fmt: skip
def test_what_one_may_not_do_is_named(cluster: Cluster, method: str, path: str, message: str) -> None:
    with cluster.client(cluster.reader_token) as api:
        assert said(api.request(method, path, json={})) == (403, "Forbidden", message)


def test_strangers_are_told_so(cluster: Cluster) -> None:
    with cluster.client("nonsense") as api:
        assert said(api.get("/api/v1/pods")) == (401, "Unauthorized", "Unauthorized")
    with cluster.client("") as api:
        assert said(api.get("/api/v1/pods"))[2].startswith('pods is forbidden: User "system:anonymous" cannot list')
        assert api.get("/version").is_success


def test_everybody_who_is_known_may_look_around(cluster: Cluster) -> None:
    with cluster.client(cluster.reader_token) as api:
        assert api.get("/version").json()["gitVersion"] == "v1.20.2"
        for path in ("/healthz", "/livez", "/readyz"):
            assert api.get(path).text == "ok"
        assert api.get("/api").json()["versions"] == ["v1"]
        assert api.get("/apis/apps").json()["preferredVersion"]["groupVersion"] == "apps/v1"


@pytest.mark.parametrize("version", ["api/v1", "apis/apps/v1", "apis/batch/v1", "apis/rbac.authorization.k8s.io/v1",
                                     "apis/apiextensions.k8s.io/v1", "apis/coordination.k8s.io/v1"])  # fmt: skip
def test_resources_are_listed(cluster: Cluster, version: str) -> None:
    with cluster.client() as api:
        found = api.get(f"/{version}").json()
    assert found["kind"] == "APIResourceList"
    for entry in found["resources"]:
        kind: Json = {k: type(v) for k, v in entry.items()}
        assert kind.keys() >= {"name", "kind", "namespaced", "verbs", "singularName"}


def test_what_is_not_served_is_not_found(space: Space) -> None:
    missing = (404, "NotFound", "the server could not find the requested resource")
    assert said(space.api.get("/apis/apps/v2/deployments")) == missing
    assert said(space.api.get(f"/apis/apps/v1/namespaces/{space.namespace}/wonders")) == missing
    assert space.api.get("/apis/wonder.example.com/v1/wonders").text == "404 page not found\n"
    assert said(space.api.put("/apis/apps/v1/deployments", json={}))[:2] == (405, "MethodNotAllowed")


def test_a_body_of_another_kind_is_refused(space: Space) -> None:
    body = {**config_map("c"), "kind": "Secret", "data": {}}
    assert said(space.post("configmaps", body)) == (
        400, "BadRequest",
        'Secret in version "v1" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): unknown '
        "conversion",
    )  # fmt: skip
