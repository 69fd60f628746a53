"""The servers that tests ask for by name; each is started once a session, when first asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.servers.assets import Assets, ensure
from tests.servers.control_plane import ControlPlane
from tests.servers.faults.proxy import FaultProxy
from tests.servers.need import need
from tests.servers.node import RealNode, require
from tests.servers.registry import DockerRegistry
from tests.servers.site import Site

MakeControlPlane = Callable[..., ControlPlane]
MakeFaultProxy = Callable[..., FaultProxy]
MakeRegistry = Callable[..., DockerRegistry]
MakeSite = Callable[..., Site]
#: What costs much and is shared: the tests that ask for one of these run in one process, which alone starts it.
SHARED = ("real_node", "site_of_nights", "own_site", "site", "control_plane")


#: Groups that take minutes: they begin first, so that none of them is left alone at the end.
LONGEST = (
    "fleet", "nights", "worker", "outages", "rehearse", "full-run", "nothing-lost", "prefect-windows", "uploads",
    "own-window", "unlucky", "own-site", "prefect-deploy", "site", "real-node",
)  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests that share a server, unless they are in a group already, and put the longest groups first."""
    for item in items:
        asked = next((x for x in SHARED if x in getattr(item, "fixturenames", ())), None)
        if asked and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(asked.replace("_", "-")))
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    """Return when an item's turn is: long groups, then the other groups, then what is in none."""
    mark = item.get_closest_marker("xdist_group")
    if mark is None:
        return len(LONGEST) + 1
    return LONGEST.index(mark.args[0]) if mark.args[0] in LONGEST else len(LONGEST)


_users: Counter[str] = Counter()
_closers: dict[str, Callable[[], None]] = {}


def close_after_last(name: str, close: Callable[[], None]) -> None:
    """Let a fixture of SHARED be closed after the last test that asks for it; closing it again must do no harm."""
    _closers[name] = close


def pytest_collection_finish(session: pytest.Session) -> None:
    """Count who shares what, so that it can be closed after the last one: idle API servers cost a tenth of a core."""
    _users.update(x for item in session.items for x in SHARED if x in getattr(item, "fixturenames", ()))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Close what no test will ask for any more; all who share it are in one group, which one process runs."""
    for name in set(SHARED) & set(getattr(item, "fixturenames", ())):
        _users[name] -= 1
        if not _users[name] and name in _closers:
            _closers.pop(name)()


@pytest.fixture(scope="session")
def assets() -> Assets:
    """The server binaries."""
    return need(ensure)


@pytest.fixture(scope="session")
def make_control_plane(assets: Assets) -> Iterator[MakeControlPlane]:
    """Start one more control plane; the words are ``ControlPlane``'s; it is closed at the end of the session."""
    with ExitStack() as stack:

        def make(**how: Any) -> ControlPlane:
            return stack.enter_context(need(lambda: ControlPlane(assets, **how)))

        yield make


@pytest.fixture(scope="session")
def control_plane(make_control_plane: MakeControlPlane) -> ControlPlane:
    """One control plane with controller manager for all: use names and namespaces of your own."""
    return make_control_plane()


@pytest.fixture(scope="session")
def make_registry(assets: Assets) -> Iterator[MakeRegistry]:
    """Start one more registry; the words are ``DockerRegistry``'s; it is closed at the end of the session."""
    with ExitStack() as stack:

        def make(**how: Any) -> DockerRegistry:
            return stack.enter_context(need(lambda: DockerRegistry(assets, **how)))

        yield make


@pytest.fixture(scope="session")
def registry(make_registry: MakeRegistry) -> DockerRegistry:
    """One registry for all, without password or TLS: use repositories of your own."""
    return make_registry()


@pytest.fixture(scope="session")
def make_site(
    make_control_plane: MakeControlPlane, make_registry: MakeRegistry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeSite]:
    """Start one more site; the words are those of ``Site.start`` (``users``, ``releases``).

    It is closed at the end of the session; whoever closes it before, saves what idle API servers cost.
    """
    with ExitStack() as stack:

        def make(**how: Any) -> Site:
            site = Site.start(make_control_plane, make_registry(), tmp_path_factory.mktemp("site"), **how)
            stack.callback(site.close)
            return site

        yield make


@pytest.fixture(scope="session")
def site(make_site: MakeSite) -> Site:
    """One populated site for all, with simulated kubelets; a test that changes it makes one of its own."""
    made = make_site()
    close_after_last("site", made.close)
    return made


@pytest.fixture(scope="session")
def real_node(assets: Assets, make_control_plane: MakeControlPlane, registry: DockerRegistry) -> Iterator[RealNode]:
    """One real node, on a control plane of its own (``.plane``), whose pods pull from ``registry``."""
    need(lambda: require(assets))
    plane = make_control_plane()
    with need(lambda: RealNode(assets, plane, registry)) as node:
        yield node


@pytest.fixture
def make_fault_proxy() -> Iterator[MakeFaultProxy]:
    """Put a faulty way before a server; the words are ``FaultProxy``'s; it is closed at the end of the test."""
    with ExitStack() as stack:
        yield lambda *words, **how: stack.enter_context(FaultProxy(*words, **how))
