"""The Prefect server that these tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.prefect import prefect_server


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that plans no run by itself and has no worker; use names of your own."""
    with prefect_server(tmp_path_factory.mktemp("prefect"), schedules=False) as address:
        yield address
