"""Uploads over bad lines: nothing is lost, nothing is told twice, and every end is clear."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from compass.clock import system_clock
from compass.digests import Digest, digest_of
from compass.errors import CompassError, InvalidInput, StepFailed, Transient
from compass.images.layout import Layout
from compass.images.registry.client import Registry
from compass.images.registry.sessions import Sessions
from compass.images.registry.upload import upload
from rehearsal.registry import SimulatedRegistry
from tests.compass.images.proxy import Alter, Break, Rule, Say, Seen, proxy
from tests.material.images import noise
from tests.servers.process import wait_until
from tests.servers.registry import DockerRegistry

pytestmark = pytest.mark.servers
DATA = noise(5 << 20, "upload")


class Told:
    def __init__(self) -> None:
        self.amounts: list[int] = []

    def __call__(self, amount: int) -> None:
        assert amount > 0
        self.amounts.append(amount)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "state")


@pytest.fixture
def digest(layout: Layout, request: pytest.FixtureRequest) -> Digest:
    """A blob that no other test has sent."""
    with layout.batch() as batch:
        return batch.put(request.node.name.encode() + DATA)


def plain(host: str, patience_seconds: float = 20) -> Registry:
    return Registry(host, scheme="http", patience_seconds=patience_seconds)


def once(method: str, what: Any, part: str = "/uploads/") -> Rule:
    todo = [what]

    def rule(seen: Seen) -> Any:
        return todo.pop() if todo and seen.method == method and part in seen.path else None

    return rule


def sent_through(
    rule: Rule, registry: DockerRegistry, layout: Layout, digest: Digest, repository: str, **how: Any
) -> list[str]:
    """Upload through a faulty way; return the methods of the requests."""
    told = Told()
    with proxy(registry.url, rule) as way, plain(way.host, **how) as door:
        upload(door, repository, digest, layout, told=told)
    assert sum(told.amounts) == layout.size(digest), "every byte is told once"
    assert digest_of(registry.blob(repository, digest)) == digest
    return [x.method for x in way.seen]


def test_a_blob_is_sent_with_two_requests(registry: DockerRegistry, layout: Layout, digest: Digest) -> None:
    assert sent_through(lambda _: None, registry, layout, digest, "upload/plain") == ["POST", "PUT"]


@pytest.mark.parametrize("after", [0, 1 << 20, (5 << 20) - 1])
def test_a_line_that_breaks_in_the_middle_is_not_the_end(
    after: int, registry: DockerRegistry, layout: Layout, digest: Digest
) -> None:
    methods = sent_through(once("PUT", Break(after)), registry, layout, digest, "upload/broken")
    assert methods[:3] == ["POST", "PUT", "HEAD"]


@pytest.mark.parametrize(("method", "status"), [("POST", 429), ("PUT", 429), ("PUT", 500)])
def test_a_registry_that_is_busy_is_asked_again(
    method: str, status: int, registry: DockerRegistry, layout: Layout, digest: Digest
) -> None:
    rule = once(method, Say(status, {"Retry-After": "0"}))
    methods = sent_through(rule, registry, layout, digest, "upload/busy")
    assert methods.count(method) >= 2


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "BLOB_UPLOAD_UNKNOWN"), (404, "UNKNOWN"), (416, "RANGE_INVALID"), (400, "BLOB_UPLOAD_INVALID")],
)
def test_an_upload_that_the_registry_dropped_begins_again(
    status: int, code: str, registry: DockerRegistry, layout: Layout, digest: Digest
) -> None:
    body = b'{"errors": [{"code": "%s"}]}' % code.encode()
    methods = sent_through(once("PUT", Say(status, body=body)), registry, layout, digest, "upload/dropped")
    assert methods.count("POST") == 2


def test_a_blob_that_arrived_although_the_answer_was_lost_is_not_sent_again(
    registry: DockerRegistry, layout: Layout, digest: Digest
) -> None:
    with plain(registry.host) as door:
        upload(door, "upload/arrived", digest, layout, told=Told())
    methods = sent_through(once("PUT", Say(502)), registry, layout, digest, "upload/arrived")
    assert methods == ["POST", "PUT", "HEAD"]


def test_a_registry_that_breaks_every_time_is_given_up_after_our_patience(
    registry: DockerRegistry, layout: Layout, digest: Digest
) -> None:
    def rule(seen: Seen) -> Break | None:
        return Break(1 << 20) if seen.method == "PUT" else None

    with pytest.raises(Transient):
        sent_through(rule, registry, layout, digest, "upload/never", patience_seconds=0.5)


def test_patience_begins_anew_with_every_progress(registry: DockerRegistry, layout: Layout) -> None:
    with layout.batch() as batch:
        digest = batch.put(DATA * 10)
    breaks = iter([1 << 20, 16 << 20, 32 << 20])  # further apart than what a connection holds on its way

    def rule(seen: Seen) -> Break | None:
        after = next(breaks, None) if seen.method == "PUT" else None
        return Break(after) if after else None

    methods = sent_through(rule, registry, layout, digest, "upload/slowly", patience_seconds=0)
    assert methods.count("PUT") == 4


def test_a_registry_that_received_other_bytes_is_given_a_second_try(
    registry: DockerRegistry, layout: Layout, digest: Digest
) -> None:
    body = b'{"errors": [{"code": "DIGEST_INVALID", "message": "provided digest did not match"}]}'
    assert sent_through(once("PUT", Say(400, body=body)), registry, layout, digest, "upload/other").count("PUT") == 2

    def always(seen: Seen) -> Say | None:
        return Say(400, body=body) if seen.method == "PUT" else None

    with pytest.raises(StepFailed, match="DIGEST_INVALID provided digest did not match"):
        sent_through(always, registry, layout, digest, "upload/always")


def test_a_blob_that_was_damaged_on_disk_is_told(registry: DockerRegistry, layout: Layout, digest: Digest) -> None:
    path = layout.root / "blobs/sha256" / digest[7:]
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(InvalidInput, match=r"a stored blob with digest .*remove it"):
        sent_through(lambda _: None, registry, layout, digest, "upload/damaged")


def test_a_registry_that_names_another_digest_is_an_error(
    registry: DockerRegistry, layout: Layout, digest: Digest
) -> None:
    other = "sha256:" + "0" * 64
    rule = once("PUT", Alter({"Docker-Content-Digest": other}))
    with pytest.raises(StepFailed, match=f"the registry stored {other}, expected {digest}"):
        sent_through(rule, registry, layout, digest, "upload/naming")


def test_a_registry_that_says_no_is_quoted(registry: DockerRegistry, layout: Layout, digest: Digest) -> None:
    body = b'{"errors": [{"code": "SIZE_INVALID", "message": "quota is used up"}]}'
    with pytest.raises(StepFailed, match=r"answer 413 \(SIZE_INVALID quota is used up\)"):
        sent_through(once("PUT", Say(413, body=body)), registry, layout, digest, "upload/full")


class Resuming:
    """A registry, as far as uploads go, that can go on where one broke; the real one here begins again."""

    def __init__(self, breaks: int) -> None:
        self.received = bytearray()
        self.breaks = breaks
        self.done = False

    def answer(self, seen: Seen, body: bytes) -> Say:
        where = {"Location": "/v2/a/b/blobs/uploads/1?state=x"}
        if seen.method == "HEAD":
            return Say(200 if self.done else 404)
        if seen.method == "POST":
            self.received.clear()
            return Say(202, where)
        if seen.method == "GET":
            return Say(204, {**where, "Range": f"0-{max(0, len(self.received) - 1)}"})
        if seen.method == "PATCH":
            assert re.fullmatch(rf"{len(self.received)}-\d+", seen.headers["Content-Range"])
        self.received += body
        if self.breaks:
            self.breaks -= 1
            del self.received[-1000 * (self.breaks + 1) :]
            return Say(502)
        self.done = seen.method == "PUT"
        return Say(201 if self.done else 202, where)


@pytest.mark.parametrize("breaks", [1, 2, 3])
def test_a_registry_that_remembers_gets_only_the_rest(breaks: int, layout: Layout, digest: Digest) -> None:
    state = Resuming(breaks)
    told = Told()
    with proxy("http://127.0.0.1:1", lambda _: None) as way:
        way.answer = state.answer
        with plain(way.host) as door:
            upload(door, "a/b", digest, layout, told=told)
    assert digest_of(bytes(state.received)) == digest
    assert way.count("POST") == 1, "the upload went on"
    assert way.count("PATCH") == breaks
    assert sum(told.amounts) == layout.size(digest)


def test_every_error_of_an_upload_is_of_a_family(registry: DockerRegistry, layout: Layout, digest: Digest) -> None:
    for status in (400, 401, 403, 405, 409, 410, 413, 415, 418, 501, 507):
        with pytest.raises(CompassError):
            sent_through(
                lambda seen, status=status: Say(status) if seen.method == "PUT" else None,
                registry, layout, digest, f"upload/no{status}", patience_seconds=0,
            )  # fmt: skip


# -- over the end of a process


@pytest.fixture
def sessions(tmp_path: Path) -> Callable[[], Sessions]:
    """What a run knows of the uploads of those before it; each call is another run."""
    return lambda: Sessions(tmp_path / "uploads", "registry", system_clock())


class Killed(Exception):
    """The run ends here."""


def until(amount: int, resumable: SimulatedRegistry | None = None) -> Callable[[int], None]:
    """End the run once so much was sent, and something of it has come in where that can be seen."""
    told = 0

    def tell(piece: int) -> None:
        nonlocal told
        told += piece
        if told >= amount:
            if resumable is not None:
                wait_until("something to come in", lambda: resumable.traffic.received_bytes, 10, 0.01)
            raise Killed

    return tell


def run(
    registry: SimulatedRegistry | DockerRegistry, layout: Layout, digest: Digest, sessions: Sessions, **how: Any
) -> tuple[int, list[int]]:
    """Upload as one run does; return the bytes sent, and what the progress was told."""
    told = Told()
    with plain(registry.host) as door, sessions.record("a/b", digest) as record:
        sent = upload(door, "a/b", digest, layout, record=record, **{"told": told, **how})
    return sent, told.amounts


@pytest.fixture
def resumable(tmp_path: Path) -> Iterator[SimulatedRegistry]:
    with SimulatedRegistry(tmp_path / "registry", resumable=True) as registry:
        yield registry


def test_the_run_after_one_that_was_killed_sends_the_rest_alone(
    resumable: SimulatedRegistry, layout: Layout, digest: Digest, sessions: Callable[[], Sessions], tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        run(resumable, layout, digest, sessions(), told=until(3 << 20, resumable))
    sent, told = run(resumable, layout, digest, sessions())
    size = layout.size(digest)
    assert 0 < sent < size
    assert resumable.traffic.received_bytes == size, "nothing was sent twice"
    assert sum(told) == size, "what had arrived counts as done"
    assert list((tmp_path / "uploads").iterdir()) == []


def test_a_run_may_be_killed_again_and_again(
    resumable: SimulatedRegistry, layout: Layout, sessions: Callable[[], Sessions]
) -> None:
    with layout.batch() as batch:
        digest = batch.put(noise(40 << 20, "again"))
    for _ in range(4):
        with pytest.raises(Killed):
            run(
                resumable,
                layout,
                digest,
                sessions(),
                told=until(resumable.traffic.received_bytes + (9 << 20), resumable),
            )
        wait_until("the registry to see the end", lambda: resumable.traffic.uploads == 0)
    run(resumable, layout, digest, sessions())
    assert resumable.traffic.received_bytes == layout.size(digest)


@pytest.mark.parametrize(("times", "sent_anew"), [(1, False), (2, True)])
def test_a_registry_that_is_further_than_it_said_is_asked_once_more(
    times: int,
    sent_anew: bool,
    resumable: SimulatedRegistry,
    layout: Layout,
    digest: Digest,
    sessions: Callable[[], Sessions],
) -> None:
    with pytest.raises(Killed):
        run(resumable, layout, digest, sessions(), told=until(3 << 20, resumable))
    wait_until("the registry to see the end", lambda: resumable.traffic.uploads == 0)
    arrived, size, left = resumable.traffic.received_bytes, layout.size(digest), [times]

    def rule(seen: Seen) -> Say | None:
        if seen.method != "PATCH" or not left[0]:
            return None
        left[0] -= 1
        return Say(416, body=b'{"errors": [{"code": "RANGE_INVALID"}]}')

    told = Told()
    known = sessions().record("a/b", digest)
    with known as record, proxy(f"http://{resumable.host}", rule) as way, plain(way.host) as door:
        upload(door, "a/b", digest, layout, told=told, record=record)
    assert resumable.traffic.received_bytes == (arrived + size if sent_anew else size)
    assert sum(told.amounts) == size


def test_a_registry_that_forgets_a_broken_upload_gets_the_blob_anew(
    registry: DockerRegistry, layout: Layout, digest: Digest, sessions: Callable[[], Sessions]
) -> None:
    with pytest.raises(Killed):
        run(registry, layout, digest, sessions(), told=until(3 << 20))
    sent, told = run(registry, layout, digest, sessions())
    assert sent == sum(told) == layout.size(digest)
    assert digest_of(registry.blob("a/b", digest)) == digest


def test_a_blob_that_arrived_after_the_run_was_killed_is_not_sent(
    resumable: SimulatedRegistry, layout: Layout, digest: Digest, sessions: Callable[[], Sessions]
) -> None:
    with sessions().record("a/b", digest) as record:
        record.keep("/v2/a/b/blobs/uploads/1")
    with plain(resumable.host) as door:
        upload(door, "a/b", digest, layout, told=Told())
    before = resumable.traffic.received_bytes
    assert run(resumable, layout, digest, sessions()) == (0, [layout.size(digest)])
    assert resumable.traffic.received_bytes == before


@pytest.mark.parametrize("answer", [Say(404), Say(403), Say(400), Say(204), Say(204, {"Range": "0-99999999"})])
def test_an_upload_of_an_earlier_run_that_cannot_go_on_begins_anew(
    answer: Say, registry: DockerRegistry, layout: Layout, digest: Digest, sessions: Callable[[], Sessions]
) -> None:
    with sessions().record("a/b", digest) as record:
        record.keep("/v2/a/b/blobs/uploads/long-ago")

    def rule(seen: Seen) -> Say | None:
        return answer if "long-ago" in seen.path else None

    told = Told()
    with proxy(registry.url, rule) as way, plain(way.host) as door, sessions().record("a/b", digest) as record:
        sent = upload(door, "a/b", digest, layout, told=told, record=record)
    assert sent == sum(told.amounts) == layout.size(digest)
    assert digest_of(registry.blob("a/b", digest)) == digest


def test_an_upload_that_holds_other_bytes_begins_anew(
    resumable: SimulatedRegistry, layout: Layout, digest: Digest, sessions: Callable[[], Sessions]
) -> None:
    with layout.batch() as batch:
        other = batch.put(noise(4 << 20, "another blob"))
    with pytest.raises(Killed):
        run(resumable, layout, other, sessions(), told=until(3 << 20, resumable))
    with sessions().record("a/b", other) as record:
        location = record.location
    assert location
    with sessions().record("a/b", digest) as record:
        record.keep(location)
    assert run(resumable, layout, digest, sessions())[0] == layout.size(digest)
