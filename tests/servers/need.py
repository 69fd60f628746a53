"""What happens to a test when something it needs is absent: skipped on a laptop, failed in CI."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NoReturn, TypeVar

import pytest

from tests.servers.assets import Missing

T = TypeVar("T")


def need(make: Callable[[], T]) -> T:
    """Return what ``make`` returns; when it raises ``Missing`` the test ends there."""
    try:
        return make()
    except Missing as error:
        absent(str(error))


def absent(reason: str) -> NoReturn:
    """End the test that asks: skipped with the reason, but failed where ``CI`` is ``true``."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have everything: {reason}", pytrace=False)
    pytest.skip(reason)
