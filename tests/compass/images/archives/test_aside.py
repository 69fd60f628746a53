"""Work that follows a stream: in order, never far behind, and heard of when it fails."""

from __future__ import annotations

import threading
import time

import pytest

from compass.images.archives.aside import PIECES_BEHIND, Aside, Inline


@pytest.mark.parametrize("kind", [Aside, Inline])
def test_every_piece_is_taken_in_order_before_the_block_ends(kind: type[Aside] | type[Inline]) -> None:
    taken: list[bytes] = []
    buffer = bytearray(1)
    with kind(lambda piece: taken.append(bytes(piece))) as follower:
        for n in range(100):
            buffer[0] = n
            follower.put(memoryview(buffer))
    assert taken == [bytes([n]) for n in range(100)]


def test_it_is_never_more_than_some_pieces_behind() -> None:
    go = threading.Event()
    with Aside(lambda _: bool(go.wait(10))) as follower:
        putting = threading.Thread(target=lambda: [follower.put(b"x") for _ in range(20)])
        put: list[int] = []
        original = follower.put
        follower.put = lambda piece: (original(piece), put.append(1))[0]  # type: ignore[method-assign]
        putting.start()
        time.sleep(0.2)
        assert len(put) <= PIECES_BEHIND + 1
        go.set()
        putting.join()
    assert len(put) == 20


def test_a_failure_of_the_other_thread_is_raised_where_the_pieces_come_from() -> None:
    def fail(_: bytes | memoryview) -> None:
        raise OSError("no space")

    def follow() -> None:
        with Aside(fail) as follower:
            for _ in range(1000):
                follower.put(b"x")

    with pytest.raises(OSError, match="no space"):
        follow()


def test_a_failure_at_the_last_piece_is_raised_at_the_end() -> None:
    def fail(_: bytes | memoryview) -> None:
        time.sleep(0.05)
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"), Aside(fail) as follower:
        follower.put(b"x")


def test_a_failure_of_the_block_is_the_one_that_is_raised_and_nobody_is_left() -> None:
    before = threading.active_count()

    def slow(_: bytes | memoryview) -> None:
        time.sleep(0.01)

    def follow() -> None:
        with Aside(slow) as follower:
            for _ in range(3):
                follower.put(b"x")
            raise KeyError

    with pytest.raises(KeyError):
        follow()
    assert threading.active_count() == before
