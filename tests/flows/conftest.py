"""What the tests of the command line share: a home for Prefect, a desk to work at, a site that nobody changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flows.running import Case, Desk, wait_settled
from tests.material.bundles import legacy_bundle
from tests.servers.site import Site


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Prefect keeps its database in all tests: the first start takes longest."""
    return tmp_path_factory.mktemp("prefect") / "home"


@pytest.fixture
def desk(tmp_path: Path, prefect_home: Path) -> Desk:
    """A home, a temporary folder and a state directory of the test's own."""
    return Desk(tmp_path / "desk", prefect_home)


@pytest.fixture
def case(desk: Desk, site: Site) -> Case:
    """The site that all share, with site files of the test's own."""
    return Case.at(desk, wait_settled(site))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A legacy bundle in a folder that holds nothing else; the test may break it."""
    return legacy_bundle(tmp_path / "bundle" / "component").folder
