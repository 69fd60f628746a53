"""The fastest zlib of this machine: ISA-L's where there is a wheel of it, several times as fast; else Python's own."""

from __future__ import annotations

import contextlib
import zlib
from typing import Any

fast_zlib: Any = zlib
with contextlib.suppress(ImportError):  # no wheel for this machine
    from isal import isal_zlib

    fast_zlib = isal_zlib

DAMAGED: tuple[type[Exception], ...] = (zlib.error, fast_zlib.error)
