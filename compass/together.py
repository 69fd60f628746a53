"""Calls side by side in threads that begin and end together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def together(pool: ThreadPoolExecutor, call: Callable[[A], B], items: Iterable[A], stop: threading.Event) -> list[B]:
    """Call for every item in threads and return the results in the items' order.

    After the first failure ``stop`` is set, so that the others end soon, and that failure is raised.
    """
    futures = [pool.submit(call, item) for item in items]
    try:
        done, rest = wait(futures, return_when=FIRST_EXCEPTION)
    except BaseException:
        stop.set()
        raise
    if failed := next((future for future in done if future.exception()), None):
        stop.set()
        for future in rest:
            future.cancel()
        failed.result()
    return [future.result() for future in futures]
