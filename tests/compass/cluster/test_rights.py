"""Rights are asked for before anything is done, and the missing ones are named."""

from __future__ import annotations

import pytest

from compass.cluster.client import ClusterClient
from compass.cluster.rights import APPLY, DELETE, Right, need_rights, rights_for
from compass.errors import Refused
from compass.names import ObjectRef
from compass.site.access import read_access
from tests.material.clusters import create
from tests.servers.control_plane import ControlPlane

pytestmark = pytest.mark.servers


def objects(namespace: str) -> list[ObjectRef]:
    return [
        ObjectRef("apps/v1", "Deployment", namespace, "one"),
        ObjectRef("apps/v1", "Deployment", namespace, "two"),
        ObjectRef("v1", "Namespace", "", namespace),
        ObjectRef("nowhere.example/v1", "Thing", namespace, "thing"),
    ]


def test_rights_are_those_of_kinds_and_places_not_of_objects(client: ClusterClient, namespace: str) -> None:
    assert rights_for(client, objects(namespace), DELETE) == {
        Right("get", "apps", "deployments", namespace),
        Right("delete", "apps", "deployments", namespace),
        Right("get", "", "namespaces", ""),
        Right("delete", "", "namespaces", ""),
    }


def test_an_administrator_has_all_rights(client: ClusterClient, namespace: str) -> None:
    assert need_rights(client, rights_for(client, objects(namespace), (*APPLY, *DELETE))) == 8


def test_missing_rights_are_named_five_of_them_and_the_others_counted(
    plane: ControlPlane, client: ClusterClient, namespace: str
) -> None:
    wanted = rights_for(client, objects(namespace), (*APPLY, *DELETE))
    with (
        ClusterClient(read_access(plane.kubeconfig(token=plane.reader_token)), patience_seconds=5) as reader,
        pytest.raises(Refused) as caught,
    ):
        need_rights(reader, wanted)
    assert (
        f"may not create namespaces, create deployments.apps in {namespace}, delete namespaces, "
        f"delete deployments.apps in {namespace}, get namespaces and 3 more" in str(caught.value)
    )


def test_only_the_rights_that_are_missing_are_named(plane: ControlPlane, client: ClusterClient, namespace: str) -> None:
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "some", "namespace": namespace},
        "rules": [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "patch"]}],
    }  # fmt: skip
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "some", "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "some"},
        "subjects": [{"kind": "User", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"}],
    }  # fmt: skip
    create(plane, [role, binding])
    wanted = rights_for(client, objects(namespace)[:2], APPLY)
    with (
        ClusterClient(read_access(plane.kubeconfig(token=plane.reader_token)), patience_seconds=5) as reader,
        pytest.raises(Refused, match=rf"may not create deployments.apps in {namespace}; give"),
    ):
        need_rights(reader, wanted)
