"""Seals of secret values: they tell whether a value is the one that was looked at, and are no help in guessing it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

_COST, _BLOCK, _LANES = 1 << 14, 8, 1


class Sealer:
    """Seals with one salt; equal values are sealed once."""

    def __init__(self, salt: str) -> None:
        self._salt = salt.encode()
        self._sealed: dict[bytes, str] = {}

    def seal(self, manifest: dict[str, Any]) -> str:
        """Return the seal of a Secret's values (scrypt, RFC 7914: some 50 ms for each guess)."""
        values = {key: manifest.get(key) or {} for key in ("data", "stringData")}
        text = json.dumps(values, sort_keys=True, default=str).encode()
        if text not in self._sealed:
            self._sealed[text] = hashlib.scrypt(
                text, salt=self._salt, n=_COST, r=_BLOCK, p=_LANES, maxmem=64 << 20
            ).hex()
        return self._sealed[text]
