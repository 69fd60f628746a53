"""A cluster for the tests of the doors and steps, the door to it, and a namespace for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from compass.cluster.client import ClusterClient
from compass.site.access import read_access
from tests.conftest import MakeControlPlane
from tests.material.clusters import create, install_definitions
from tests.servers.control_plane import ControlPlane

_numbers = itertools.count()


@pytest.fixture(scope="session")
def plane(make_control_plane: MakeControlPlane) -> ControlPlane:
    """A cluster with controllers that knows Releases and Cluster objects."""
    made = make_control_plane()
    install_definitions(made)
    return made


@pytest.fixture(scope="session")
def client(plane: ControlPlane) -> Iterator[ClusterClient]:
    """The door to the cluster, as its administrator."""
    with ClusterClient(read_access(plane.kubeconfig()), patience_seconds=5) as door:
        yield door


@pytest.fixture
def namespace(plane: ControlPlane) -> str:
    """A namespace of the test's own."""
    name = f"door-{next(_numbers)}"
    create(plane, [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}])
    return name
