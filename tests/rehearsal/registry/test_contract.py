"""What clients may rely on, the same of our registry and of Debian's: blobs and their uploads.

Source: OCI distribution specification 1.1; each part is named after its section.
"""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest

from compass.digests import digest_of
from tests.material.images import noise
from tests.rehearsal.registry.talk import OCTETS, Peer, begin, codes, put_blob, refused, with_digest

DATA = noise(100_000, "contract")
DIGEST = digest_of(DATA)
ABSENT = digest_of(b"absent")

# -- Determining Support


def test_it_says_which_protocol_it_speaks(http: httpx.Client) -> None:
    answer = http.get("/v2/")
    assert (answer.status_code, answer.json()) == (200, {})
    assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"


@pytest.mark.parametrize(
    ("method", "path", "status", "header"),
    [
        ("GET", "/v2", 301, ("Location", "/v2/")),
        ("POST", "/v2/a/blobs/uploads", 301, ("Location", "/v2/a/blobs/uploads/")),
        ("GET", "/v2/a//b/tags/list", 301, ("Location", "/v2/a/b/tags/list")),
        ("GET", "/v2/UPPER/tags/list", 404, ("Content-Type", "text/plain; charset=utf-8")),
        ("GET", "/v2/a_-b/tags/list", 404, ("Content-Type", "text/plain; charset=utf-8")),
        ("GET", "/v2/a/manifests/.tag", 404, ("Content-Type", "text/plain; charset=utf-8")),
        ("GET", "/v2/a/nothing", 404, ("Content-Type", "text/plain; charset=utf-8")),
        ("PUT", "/v2/a/tags/list", 405, ("Allow", "GET")),
        ("POST", f"/v2/a/blobs/{ABSENT}", 405, ("Allow", "DELETE, GET, HEAD")),
        ("PATCH", "/v2/a/manifests/x", 405, ("Allow", "DELETE, GET, HEAD, PUT")),
    ],
)
def test_paths_and_methods_that_lead_nowhere(
    http: httpx.Client, method: str, path: str, status: int, header: tuple[str, str]
) -> None:
    answer = http.request(method, path)
    assert answer.status_code == status
    assert answer.headers[header[0]] == header[1]


# -- Pulling blobs


def test_a_blob_is_what_was_put(http: httpx.Client, name: str) -> None:
    put_blob(http, name, DATA)
    head, got = http.head(f"/v2/{name}/blobs/{DIGEST}"), http.get(f"/v2/{name}/blobs/{DIGEST}")
    assert (head.status_code, head.content, got.status_code, got.content) == (200, b"", 200, DATA)
    for answer in (head, got):
        assert answer.headers["Docker-Content-Digest"] == DIGEST
        assert answer.headers["Content-Length"] == str(len(DATA))
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert answer.headers["ETag"] == f'"{DIGEST}"'
    assert http.get(f"/v2/{name}/blobs/{DIGEST}", headers={"If-None-Match": f'"{DIGEST}"'}).status_code == 304


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [("0-0", 0, 0), ("10-19", 10, 19), ("99990-", 99_990, 99_999), ("-5", 99_995, 99_999), ("5-999999", 5, 99_999)],
)
def test_a_part_of_a_blob(http: httpx.Client, name: str, wanted: str, first: int, last: int) -> None:
    put_blob(http, name, DATA)
    answer = http.get(f"/v2/{name}/blobs/{DIGEST}", headers={"Range": f"bytes={wanted}"})
    assert (answer.status_code, answer.content) == (206, DATA[first : last + 1])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(DATA)}"


@pytest.mark.parametrize("wanted", ["bytes=100000-", "bytes=5-2", "bytes=a-b", "lines=1-2"])
def test_a_part_that_is_not_there(http: httpx.Client, name: str, wanted: str) -> None:
    put_blob(http, name, DATA)
    # Only the head of the answer: distribution 2.8 gives it the length of the blob and then ends early.
    with http.stream("GET", f"/v2/{name}/blobs/{DIGEST}", headers={"Range": wanted}) as answer:
        assert answer.status_code == 416


def test_an_empty_blob(http: httpx.Client, name: str) -> None:
    digest = put_blob(http, name, b"")
    answer = http.get(f"/v2/{name}/blobs/{digest}")
    assert (answer.status_code, answer.content, answer.headers["Content-Length"]) == (200, b"", "0")


def test_blobs_that_are_not_there(http: httpx.Client, name: str) -> None:
    assert http.head(f"/v2/{name}/blobs/{ABSENT}").status_code == 404
    answer = http.get(f"/v2/{name}/blobs/{ABSENT}")
    assert refused(answer) == (404, ["BLOB_UNKNOWN"])
    assert answer.json()["errors"][0]["detail"] == ABSENT
    for wrong in ("sha256:zz", "md5:d41d8cd98f00b204e9800998ecf8427e"):
        assert refused(http.get(f"/v2/{name}/blobs/{wrong}")) == (400, ["DIGEST_INVALID"])


# -- Deleting Blobs


def test_a_deleted_blob_is_gone_from_its_repository_only(http: httpx.Client, name: str) -> None:
    put_blob(http, name, DATA)
    put_blob(http, f"{name}/other", DATA)
    assert http.delete(f"/v2/{name}/blobs/{DIGEST}").status_code == 202
    assert http.head(f"/v2/{name}/blobs/{DIGEST}").status_code == 404
    assert refused(http.delete(f"/v2/{name}/blobs/{DIGEST}")) == (404, ["BLOB_UNKNOWN"])
    assert http.get(f"/v2/{name}/other/blobs/{DIGEST}").content == DATA
    put_blob(http, name, DATA)
    assert http.get(f"/v2/{name}/blobs/{DIGEST}").content == DATA


# -- Pushing blobs: POST then PUT


def test_an_upload_in_two_requests(http: httpx.Client, name: str) -> None:
    begun = http.post(f"/v2/{name}/blobs/uploads/")
    assert (begun.status_code, begun.headers["Range"], begun.headers["Content-Length"]) == (202, "0-0", "0")
    assert begun.headers["Docker-Upload-UUID"] in begun.headers["Location"]
    done = http.put(with_digest(begun.headers["Location"], DIGEST), content=DATA)
    assert (done.status_code, done.headers["Docker-Content-Digest"]) == (201, DIGEST)
    assert urlsplit(done.headers["Location"]).path == f"/v2/{name}/blobs/{DIGEST}"
    assert refused(http.get(begun.headers["Location"])) == (404, ["BLOB_UPLOAD_UNKNOWN"])


def test_a_body_without_a_length(http: httpx.Client, name: str) -> None:
    parts = (DATA[n : n + 7000] for n in range(0, len(DATA), 7000))
    assert http.put(with_digest(begin(http, name), DIGEST), content=parts).status_code == 201
    assert http.get(f"/v2/{name}/blobs/{DIGEST}").content == DATA


def test_a_wrong_digest_leaves_nothing(http: httpx.Client, name: str) -> None:
    location = begin(http, name)
    assert refused(http.put(with_digest(location, ABSENT), content=DATA)) == (400, ["DIGEST_INVALID"])
    assert http.head(f"/v2/{name}/blobs/{ABSENT}").status_code == 404
    assert http.head(f"/v2/{name}/blobs/{DIGEST}").status_code == 404
    assert http.get(location).status_code == 404


@pytest.mark.parametrize("query", ["", "&digest=foo", "&digest=sha256:12"])
def test_an_upload_ends_with_a_digest_only(http: httpx.Client, name: str, query: str) -> None:
    location = begin(http, name)
    assert refused(http.put(location + query)) == (400, ["DIGEST_INVALID"])
    assert http.get(location).status_code == 204, "the upload goes on"


# -- Pushing a blob in chunks


def test_an_upload_in_chunks_that_is_resumed(http: httpx.Client, name: str) -> None:
    location, sent = begin(http, name), 0
    for size in (40_000, 1, 20_000):
        reach = f"{sent}-{sent + size - 1}"
        answer = http.patch(location, content=DATA[sent : sent + size], headers={**OCTETS, "Content-Range": reach})
        sent += size
        assert (answer.status_code, answer.headers["Range"]) == (202, f"0-{sent - 1}")
        status = http.get(answer.headers["Location"])
        assert (status.status_code, status.headers["Range"], status.content) == (204, f"0-{sent - 1}", b"")
        assert http.head(answer.headers["Location"]).status_code == 204
        location = status.headers["Location"]
    rest = {**OCTETS, "Content-Range": f"{sent}-{len(DATA) - 1}"}
    assert http.put(with_digest(location, DIGEST), content=DATA[sent:], headers=rest).status_code == 201
    assert http.get(f"/v2/{name}/blobs/{DIGEST}").content == DATA


def test_a_chunk_out_of_order_never_makes_a_blob(http: httpx.Client, name: str) -> None:
    # The specification wants 416 at once; distribution 2.8 notices at the end.
    location = http.patch(begin(http, name), content=DATA[:1000], headers=OCTETS).headers["Location"]
    answer = http.patch(location, content=DATA[2000:], headers={**OCTETS, "Content-Range": "2000-99999"})
    if answer.status_code != 416:
        answer = http.put(with_digest(answer.headers["Location"], DIGEST))
        assert refused(answer) == (400, ["DIGEST_INVALID"])
    assert http.head(f"/v2/{name}/blobs/{DIGEST}").status_code == 404


def test_an_old_location_is_refused(http: httpx.Client, name: str) -> None:
    first = begin(http, name)
    assert http.patch(first, content=b"more", headers=OCTETS).status_code == 202
    for answer in (http.get(first), http.patch(first, content=b"x", headers=OCTETS)):
        assert refused(answer) == (404, ["BLOB_UPLOAD_INVALID"])


def test_locations_that_lead_nowhere(http: httpx.Client, name: str) -> None:
    location = begin(http, name)
    for wrong in (location.partition("?")[0], location.replace(f"/{name}/", f"/{name}/other/"), location + "x"):
        assert refused(http.get(wrong)) == (404, ["BLOB_UPLOAD_INVALID"])
    answer = http.delete(location)
    assert (answer.status_code, answer.content) == (204, b"")
    for gone in (http.get(location), http.delete(location), http.patch(location, content=b"x", headers=OCTETS)):
        assert refused(gone) == (404, ["BLOB_UPLOAD_UNKNOWN"])


def test_a_connection_that_breaks_in_a_chunk(peer: Peer, http: httpx.Client, name: str) -> None:
    location = begin(http, name)
    with socket.create_connection((peer.host.partition(":")[0], int(peer.host.partition(":")[2]))) as line:
        path = location.partition(peer.host)[2]
        head = f"PATCH {path} HTTP/1.1\r\nHost: {peer.host}\r\nContent-Length: {len(DATA)}\r\n\r\n"
        line.sendall(head.encode() + DATA[:50_000])
    # What is known of the upload is now wrong or still right, by how fast the server was; a new one always works.
    assert http.get(location).status_code in (204, 404)
    put_blob(http, name, DATA)
    assert http.get(f"/v2/{name}/blobs/{DIGEST}").content == DATA


def test_a_blob_within_the_first_request(http: httpx.Client, name: str) -> None:
    # A registry may say 202 and want it in the usual way, which distribution does (section Single POST).
    answer = http.post(f"/v2/{name}/blobs/uploads/?digest={DIGEST}", content=DATA, headers=OCTETS)
    assert answer.status_code in (201, 202)
    if answer.status_code == 202:
        answer = http.put(with_digest(answer.headers["Location"], DIGEST), content=DATA)
    assert answer.headers["Docker-Content-Digest"] == DIGEST
    assert http.get(f"/v2/{name}/blobs/{DIGEST}").content == DATA


# -- Mounting a blob from another repository


def test_a_blob_is_taken_over_from_another_repository(http: httpx.Client, name: str) -> None:
    put_blob(http, name, DATA)
    answer = http.post(f"/v2/{name}/other/blobs/uploads/", params={"mount": DIGEST, "from": name})
    assert (answer.status_code, answer.headers["Docker-Content-Digest"]) == (201, DIGEST)
    assert urlsplit(answer.headers["Location"]).path == f"/v2/{name}/other/blobs/{DIGEST}"
    assert http.get(f"/v2/{name}/other/blobs/{DIGEST}").content == DATA


@pytest.mark.parametrize(
    "params",
    [
        {"mount": ABSENT, "from": "{name}"},
        {"mount": DIGEST, "from": "no/such"},
        {"mount": DIGEST, "from": "NOT A NAME"},
        {"mount": "foo", "from": "{name}"},
        {"mount": DIGEST},
    ],
)
def test_what_cannot_be_taken_over_is_uploaded(http: httpx.Client, name: str, params: dict[str, str]) -> None:
    put_blob(http, name, DATA)
    params = {key: value.format(name=name) for key, value in params.items()}
    answer = http.post(f"/v2/{name}/other/blobs/uploads/", params=params)
    assert answer.status_code == 202
    assert http.put(with_digest(answer.headers["Location"], DIGEST), content=DATA).status_code == 201


# -- many at once


def test_sixteen_clients_upload_the_same_blob(peer: Peer, name: str) -> None:
    data = noise(3 << 20, "same")
    together = threading.Barrier(16)

    def upload(number: int) -> int:
        with peer.client() as client:
            location = begin(client, f"{name}/{number % 4}")
            together.wait()
            return client.put(with_digest(location, digest_of(data)), content=data).status_code

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(upload, range(16))) == {201}
    with peer.client() as client:
        for number in range(4):
            assert client.get(f"/v2/{name}/{number}/blobs/{digest_of(data)}").content == data


def test_errors_have_the_form_of_the_specification(http: httpx.Client, name: str) -> None:
    answer = http.get(f"/v2/{name}/tags/list")
    assert codes(answer) == ["NAME_UNKNOWN"]
    assert answer.json()["errors"][0].keys() == {"code", "message", "detail"}
    assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
