"""Tests that share a server run in one process: a runner that forgets it starts each server several times."""

from __future__ import annotations

import pytest


@pytest.mark.xdist_group("guard")
def test_the_groups_of_tests_are_kept(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("loadgroup", default=False):
        assert request.node.nodeid.endswith("@guard")
