"""What the tests of the command line share: a home for Prefect, a desk to work at, a site that nobody changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MakeControlPlane, MakeRegistry, MakeSite, close_after_last
from tests.flows.nights import Nights
from tests.flows.running import Case, Desk, wait_settled
from tests.material.bundles import legacy_bundle
from tests.servers.prefect import prefect_server
from tests.servers.registry import Login
from tests.servers.site import Site

PASSWORD = "marker-of-the-registry-2f9c41"


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Prefect keeps its database in all tests: the first start takes longest."""
    return tmp_path_factory.mktemp("prefect") / "home"


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prefect server for tests that look at something else: a command starts quicker where there is one."""
    with prefect_server(tmp_path_factory.mktemp("prefect-server"), schedules=False) as address:
        yield address


@pytest.fixture
def desk(request: pytest.FixtureRequest, tmp_path: Path, prefect_home: Path) -> Iterator[Desk]:
    """A home, a temporary folder and a state directory of the test's own."""
    shared = request.node.get_closest_marker("shared_prefect")
    environ = {"PREFECT_API_URL": request.getfixturevalue("prefect_api")} if shared else {}
    made = Desk(tmp_path / "desk", prefect_home, environ)
    yield made
    made.close()


@pytest.fixture
def case(desk: Desk, site: Site) -> Case:
    """The site that all share, with site files of the test's own."""
    return Case.at(desk, wait_settled(site))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A legacy bundle in a folder that holds nothing else; the test may break it."""
    return legacy_bundle(tmp_path / "bundle" / "component").folder


@pytest.fixture(scope="session")
def own_site(
    make_control_plane: MakeControlPlane, make_registry: MakeRegistry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A site of one user cluster that tests may upgrade, each with a bundle of its own; its registry has a password."""
    registry = make_registry(login=Login("admin", PASSWORD))
    site = Site.start(make_control_plane, registry, tmp_path_factory.mktemp("own"), users=("user-1",), releases=3)
    close_after_last("own_site", site.close)
    yield site
    site.close()


@pytest.fixture(scope="session")
def site_of_nights(make_site: MakeSite) -> Nights:
    """A site of one user cluster for tests that upgrade it again and again; its group is ``nights``."""
    site = make_site(users=("user-1",), releases=3)
    close_after_last("site_of_nights", site.close)
    return Nights(site)


@pytest.fixture
def nights(site_of_nights: Nights) -> Iterator[Nights]:
    """That site at the old version, with no memory of an upgrade."""
    user = site_of_nights.site.kubelets["user-1"]
    behaviour = user.behaviour
    site_of_nights.reset()
    yield site_of_nights
    user.behaviour = behaviour


@pytest.fixture
def own(desk: Desk, own_site: Site) -> Case:
    """The site that tests may upgrade; the desk knows its registry's password."""
    case = Case.at(desk, wait_settled(own_site))
    case.log_in()
    return case
