"""What uploads bring, counted as it arrives."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Traffic:
    """Bytes of blobs received, whether kept or not, and how many uploads were under way at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.received_bytes = 0
        self.uploads = 0
        self.most_uploads = 0

    @contextmanager
    def upload(self) -> Iterator[None]:
        """Count an upload as under way during the block."""
        with self._lock:
            self.uploads += 1
            self.most_uploads = max(self.most_uploads, self.uploads)
        try:
            yield
        finally:
            with self._lock:
                self.uploads -= 1

    def receive(self, amount: int) -> None:
        """Count some bytes."""
        with self._lock:
            self.received_bytes += amount
