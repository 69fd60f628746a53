"""Trouble to order: what a registry does wrong while a rehearsal looks on."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, replace

FALSE_DIGEST = "sha256:" + "0" * 64


@dataclass(frozen=True)
class Unavailable:
    """The next ``times`` requests (``None``: all of them) are answered with 503 or 429.

    ``methods`` and ``path`` (a regular expression, found anywhere) choose which; empty is any.
    """

    status: int = 503
    retry_after_seconds: int | None = None
    times: int | None = 1
    methods: frozenset[str] = frozenset()
    path: str = ""


@dataclass(frozen=True)
class BrokenUpload:
    """The connection of an upload breaks once ``after_bytes`` of its body have arrived.

    With ``forgotten`` the upload itself is lost as well, as when a registry comes back on an empty disk.
    """

    after_bytes: int = 0
    times: int | None = 1
    forgotten: bool = False


@dataclass(frozen=True)
class FalseDigest:
    """The header Docker-Content-Digest of the next answers names other content."""

    times: int | None = 1


@dataclass(frozen=True)
class NoConnection:
    """Every connection breaks and new ones are refused, for some seconds; what was stored stays."""

    seconds: float


Fault = Unavailable | BrokenUpload | FalseDigest | NoConnection
_Counted = Unavailable | BrokenUpload | FalseDigest


class Faults:
    """The faults that are on; switched by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._on: list[_Counted] = []

    def add(self, fault: _Counted) -> None:
        """Switch a fault on."""
        with self._lock:
            self._on.append(fault)

    def clear(self) -> None:
        """Switch all of them off."""
        with self._lock:
            self._on.clear()

    def unavailable(self, method: str, path: str) -> Unavailable | None:
        """Return the fault that meets a request, counted as happened."""
        with self._lock:
            for fault in self._on:
                if isinstance(fault, Unavailable) and _meets(fault, method, path):
                    self._count(fault)
                    return fault
        return None

    def broken_upload(self, received: int) -> BrokenUpload | None:
        """Return the fault that meets an upload of which so many bytes have arrived, counted as happened."""
        with self._lock:
            for fault in self._on:
                if isinstance(fault, BrokenUpload) and received >= fault.after_bytes:
                    self._count(fault)
                    return fault
        return None

    def digest(self, digest: str) -> str:
        """Return a digest, or a false one when that fault is on."""
        with self._lock:
            for fault in self._on:
                if isinstance(fault, FalseDigest):
                    self._count(fault)
                    return FALSE_DIGEST
        return digest

    def _count(self, fault: _Counted) -> None:
        if fault.times is None:
            return
        self._on.remove(fault)
        if fault.times > 1:
            self._on.append(replace(fault, times=fault.times - 1))


def _meets(fault: Unavailable, method: str, path: str) -> bool:
    return (not fault.methods or method in fault.methods) and bool(re.search(fault.path, path))
