"""Where ours follows the specification and distribution 2.8 does not: each point that the docstring names."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from compass.digests import digest_of
from compass.images.model import OCI_INDEX, OCI_MANIFEST
from rehearsal.registry import SimulatedRegistry
from tests.rehearsal.registry.talk import (
    ANY,
    OCTETS,
    Peer,
    begin,
    descriptor,
    manifest,
    put_blob,
    put_image,
    put_manifest,
    refused,
    with_digest,
)

CONFIG = b"{}"


@pytest.fixture
def http(simulated: SimulatedRegistry) -> Iterator[httpx.Client]:
    with Peer("simulated", simulated.host).client() as client:
        yield client


def test_a_blob_is_stored_by_the_first_request(http: httpx.Client) -> None:
    answer = http.post(f"/v2/a/blobs/uploads/?digest={digest_of(b'data')}", content=b"data", headers=OCTETS)
    assert answer.status_code == 201
    assert refused(http.post(f"/v2/a/blobs/uploads/?digest={digest_of(b'')}", content=b"x"))[1] == ["DIGEST_INVALID"]


@pytest.mark.parametrize("reach", ["5-8", "3-8", "4-1", "x"])
def test_a_chunk_out_of_order_is_refused_and_the_upload_goes_on(http: httpx.Client, reach: str) -> None:
    location = http.patch(begin(http, "a"), content=b"0123", headers=OCTETS).headers["Location"]
    answer = http.patch(location, content=b"4567", headers={**OCTETS, "Content-Range": reach})
    assert refused(answer) == (416, ["RANGE_INVALID"])
    assert answer.headers["Range"] == "0-3"
    short = http.patch(location, content=b"4567", headers={**OCTETS, "Content-Range": "4-9"})
    assert refused(short) == (400, ["SIZE_INVALID"])
    location = http.patch(location, content=b"4567", headers={**OCTETS, "Content-Range": "4-7"}).headers["Location"]
    assert http.put(with_digest(location, digest_of(b"01234567"))).status_code == 201


def test_a_tag_is_deleted_alone(http: httpx.Client) -> None:
    data = put_image(http, "a", "v1")
    put_manifest(http, "a", "v2", data)
    assert http.delete("/v2/a/manifests/v1").status_code == 202
    assert refused(http.delete("/v2/a/manifests/v1")) == (404, ["MANIFEST_UNKNOWN"])
    assert http.get("/v2/a/tags/list").json()["tags"] == ["v2"]
    assert http.get(f"/v2/a/manifests/{digest_of(data)}", headers=ANY).content == data


def test_tags_come_in_order_and_in_pages(http: httpx.Client) -> None:
    data = put_image(http, "a", "v2")
    for tag in ("v1", "v10", "V3"):
        put_manifest(http, "a", tag, data)
    first = http.get("/v2/a/tags/list?n=2")
    assert first.json()["tags"] == ["V3", "v1"]
    assert first.headers["Link"] == '</v2/a/tags/list?last=v1&n=2>; rel="next"'
    second = http.get("/v2/a/tags/list", params={"n": 2, "last": "v1"})
    assert second.json()["tags"] == ["v10", "v2"]
    assert "Link" not in second.headers
    assert http.get("/v2/a/tags/list?n=0").json()["tags"] == []


def test_referrers_are_listed(http: httpx.Client) -> None:
    image = put_image(http, "a", "v1")
    put_blob(http, "a", CONFIG)
    about = {"subject": descriptor(image, OCI_MANIFEST), "annotations": {"who": "me"}}
    signature = manifest(CONFIG, artifactType="application/example.signature", **about)
    answer = put_manifest(http, "a", digest_of(signature), signature)
    assert answer.headers["OCI-Subject"] == digest_of(image)
    path = f"/v2/a/referrers/{digest_of(image)}"
    found = http.get(path)
    assert found.headers["Content-Type"] == OCI_INDEX
    assert [(x["digest"], x["artifactType"], x["annotations"]) for x in found.json()["manifests"]] == [
        (digest_of(signature), "application/example.signature", {"who": "me"})
    ]
    filtered = http.get(path, params={"artifactType": "other"})
    assert (filtered.json()["manifests"], filtered.headers["OCI-Filters-Applied"]) == ([], "artifactType")
    assert http.get(f"/v2/none/referrers/{digest_of(b'')}").json()["manifests"] == []


@pytest.mark.parametrize(
    "data", [b"{}", manifest(CONFIG, schemaVersion=1), manifest(CONFIG, layers=[{"digest": "sha256:zz"}])]
)
def test_garbage_is_the_clients_fault(http: httpx.Client, data: bytes) -> None:
    put_blob(http, "a", CONFIG)
    assert refused(put_manifest(http, "a", "v1", data)) == (400, ["MANIFEST_INVALID"])


def test_names_and_references_that_cannot_be(http: httpx.Client) -> None:
    assert refused(http.get(f"/v2/{'a' * 256}/tags/list")) == (400, ["NAME_INVALID"])
    assert refused(http.get("/v2/a/manifests/sha256:00")) == (400, ["DIGEST_INVALID"])
    assert refused(http.get(f"/v2/a/manifests/{put_blob(http, 'a', b'blob')}", headers=ANY))[0] == 404
    for sneaky in ("/v2/../../etc/tags/list", "/v2/a/manifests/..", "/v2/_uploads/tags/list"):
        assert http.get(sneaky).status_code == 404
    assert http.post("/v2/a/blobs/uploads/", params={"mount": digest_of(b"blob"), "from": "../a"}).status_code == 202


def test_locations_may_be_relative(tmp_path: Path) -> None:
    with SimulatedRegistry(tmp_path, relative_locations=True) as server, Peer("ours", server.host).client() as http:
        assert begin(http, "a").startswith("/v2/a/blobs/uploads/")
        put_blob(http, "a", b"data")
