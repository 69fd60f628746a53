"""What clients may rely on, the same of our registry and of Debian's: manifests, tags, lists.

Source: OCI distribution specification 1.1; each part is named after its section.
"""

import re
from urllib.parse import urlsplit

import httpx
import pytest

from compass.digests import digest_of
from compass.images.model import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from tests.rehearsal.registry.talk import ANY, index, manifest, put_blob, put_image, put_manifest, refused

CONFIG, LAYER = b'{"os":"linux"}', b"a layer"
ABSENT = digest_of(b"absent")


@pytest.fixture
def parts(http: httpx.Client, name: str) -> str:
    """The test's repository, with a config and a layer."""
    put_blob(http, name, CONFIG)
    put_blob(http, name, LAYER)
    return name


def check(http: httpx.Client, name: str, reference: str, data: bytes, media_type: str) -> None:
    head = http.head(f"/v2/{name}/manifests/{reference}", headers=ANY)
    got = http.get(f"/v2/{name}/manifests/{reference}", headers=ANY)
    assert (head.status_code, head.content, got.status_code, got.content) == (200, b"", 200, data)
    for answer in (head, got):
        assert answer.headers["Content-Type"] == media_type
        assert answer.headers["Docker-Content-Digest"] == digest_of(data)
        assert answer.headers["Content-Length"] == str(len(data))
        assert answer.headers["ETag"] == f'"{digest_of(data)}"'


# -- Pushing and pulling manifests


@pytest.mark.parametrize(
    ("said", "sent"),
    [(OCI_MANIFEST, OCI_MANIFEST), (DOCKER_MANIFEST, DOCKER_MANIFEST), (None, OCI_MANIFEST)],
    ids=["oci", "docker", "oci-unsaid"],
)
def test_a_manifest_is_there_by_tag_and_digest(http: httpx.Client, parts: str, said: str | None, sent: str) -> None:
    data = manifest(CONFIG, LAYER, media_type=said)
    answer = put_manifest(http, parts, "v1", data, sent)
    assert (answer.status_code, answer.headers["Docker-Content-Digest"]) == (201, digest_of(data))
    assert urlsplit(answer.headers["Location"]).path == f"/v2/{parts}/manifests/{digest_of(data)}"
    check(http, parts, "v1", data, sent)
    check(http, parts, digest_of(data), data, sent)


def test_a_manifest_put_by_its_digest_has_no_tag(http: httpx.Client, parts: str) -> None:
    data = manifest(CONFIG, LAYER)
    assert put_manifest(http, parts, digest_of(data), data).status_code == 201
    check(http, parts, digest_of(data), data, OCI_MANIFEST)
    assert refused(http.get(f"/v2/{parts}/tags/list")) == (404, ["NAME_UNKNOWN"])
    assert refused(put_manifest(http, parts, ABSENT, data)) == (400, ["DIGEST_INVALID"])


@pytest.mark.parametrize(("kind", "child"), [(OCI_INDEX, OCI_MANIFEST), (DOCKER_LIST, DOCKER_MANIFEST)])
def test_an_index_wants_its_manifests(http: httpx.Client, parts: str, kind: str, child: str) -> None:
    inner = manifest(CONFIG, LAYER, media_type=child)
    outer = index(inner, media_type=kind, child=child)
    answer = put_manifest(http, parts, "v1", outer, kind)
    assert refused(answer) == (400, ["MANIFEST_BLOB_UNKNOWN"])
    assert answer.json()["errors"][0]["detail"] == digest_of(inner)
    assert put_manifest(http, parts, digest_of(inner), inner, child).status_code == 201
    assert put_manifest(http, parts, "v1", outer, kind).status_code == 201
    check(http, parts, "v1", outer, kind)


def test_an_old_client_gets_the_manifest_for_its_platform(http: httpx.Client, parts: str) -> None:
    inner = manifest(CONFIG, LAYER, media_type=DOCKER_MANIFEST)
    put_manifest(http, parts, digest_of(inner), inner, DOCKER_MANIFEST)
    outer = index(inner, media_type=DOCKER_LIST, child=DOCKER_MANIFEST)
    put_manifest(http, parts, "v1", outer, DOCKER_LIST)
    answer = http.get(f"/v2/{parts}/manifests/v1", headers={"Accept": DOCKER_MANIFEST})
    assert (answer.content, answer.headers["Docker-Content-Digest"]) == (inner, digest_of(inner))


def test_what_a_client_does_not_accept_is_not_there(http: httpx.Client, parts: str) -> None:
    data = manifest(CONFIG, LAYER)
    put_manifest(http, parts, "v1", data)
    put_manifest(http, parts, "all", index(data), OCI_INDEX)
    for reference in ("v1", digest_of(data), "all"):
        answer = http.get(f"/v2/{parts}/manifests/{reference}", headers={"Accept": DOCKER_MANIFEST})
        assert refused(answer) == (404, ["MANIFEST_UNKNOWN"])


def test_a_manifest_wants_its_blobs(http: httpx.Client, name: str) -> None:
    put_blob(http, name, LAYER)
    answer = put_manifest(http, name, "v1", manifest(CONFIG, LAYER, b"other"))
    assert refused(answer) == (400, ["MANIFEST_BLOB_UNKNOWN"] * 2)
    assert [x["detail"] for x in answer.json()["errors"]] == [digest_of(CONFIG), digest_of(b"other")]
    assert refused(http.get(f"/v2/{name}/manifests/v1", headers=ANY)) == (404, ["MANIFEST_UNKNOWN"])
    # A blob of another repository is not there.
    put_blob(http, f"{name}/other", CONFIG)
    assert refused(put_manifest(http, name, "v1", manifest(CONFIG, LAYER))) == (400, ["MANIFEST_BLOB_UNKNOWN"])


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b"", OCI_MANIFEST),
        (b"{", OCI_MANIFEST),
        (b"[]", OCI_MANIFEST),
        (manifest(CONFIG, LAYER), DOCKER_MANIFEST),
        (manifest(CONFIG, LAYER, media_type=DOCKER_MANIFEST), OCI_MANIFEST),
        (manifest(CONFIG, LAYER, media_type=None), DOCKER_MANIFEST),
        (manifest(CONFIG, LAYER), "application/json"),
        (manifest(CONFIG, LAYER), ""),
        (manifest(CONFIG, LAYER, manifests=[]), OCI_MANIFEST),
        (index(layers=[]), OCI_INDEX),
        (b" " * (5 << 20), OCI_MANIFEST),
    ],
    ids=["empty", "half", "array", "docker-oci", "oci-docker", "unsaid", "json", "untyped", "both", "both-too", "huge"],
)
def test_what_is_no_manifest(http: httpx.Client, parts: str, data: bytes, media_type: str) -> None:
    assert refused(put_manifest(http, parts, "v1", data, media_type)) == (400, ["MANIFEST_INVALID"])


def test_unchanged_manifests_are_not_sent_again(http: httpx.Client, name: str) -> None:
    digest = digest_of(put_image(http, name, "v1"))
    for etag in (digest, f'"{digest}"'):
        answer = http.get(f"/v2/{name}/manifests/v1", headers={**ANY, "If-None-Match": etag})
        assert (answer.status_code, answer.content) == (304, b"")


def test_manifests_that_are_not_there(http: httpx.Client, name: str) -> None:
    for reference in ("v1", ABSENT):
        assert http.head(f"/v2/{name}/manifests/{reference}", headers=ANY).status_code == 404
        answer = http.get(f"/v2/{name}/manifests/{reference}", headers=ANY)
        assert refused(answer) == (404, ["MANIFEST_UNKNOWN"])


def test_a_tag_moves(http: httpx.Client, name: str) -> None:
    old, new = put_image(http, name, "v1", "old"), put_image(http, name, "v1", "new")
    check(http, name, "v1", new, OCI_MANIFEST)
    check(http, name, digest_of(old), old, OCI_MANIFEST)
    assert http.get(f"/v2/{name}/tags/list").json() == {"name": name, "tags": ["v1"]}


# -- Deleting manifests


def test_a_deleted_manifest_takes_its_tags_along(http: httpx.Client, name: str) -> None:
    data = put_image(http, name, "v1")
    put_manifest(http, name, "v1.0", data)
    kept = put_image(http, name, "v2", "kept")
    assert http.delete(f"/v2/{name}/manifests/{digest_of(data)}").status_code == 202
    for reference in ("v1", "v1.0", digest_of(data)):
        assert refused(http.get(f"/v2/{name}/manifests/{reference}", headers=ANY)) == (404, ["MANIFEST_UNKNOWN"])
    assert refused(http.delete(f"/v2/{name}/manifests/{digest_of(data)}")) == (404, ["MANIFEST_UNKNOWN"])
    assert http.get(f"/v2/{name}/tags/list").json()["tags"] == ["v2"]
    check(http, name, "v2", kept, OCI_MANIFEST)
    put_manifest(http, name, "v1", data)
    check(http, name, "v1", data, OCI_MANIFEST)


def test_a_repository_whose_last_tag_went(http: httpx.Client, name: str) -> None:
    data = put_image(http, name, "v1")
    assert http.delete(f"/v2/{name}/manifests/{digest_of(data)}").status_code == 202
    answer = http.get(f"/v2/{name}/tags/list")
    assert answer.status_code == 200
    assert not answer.json()["tags"]


# -- Listing Tags, and the catalog


def pages(http: httpx.Client, path: str, key: str) -> list[list[str]]:
    """Return every page of a list, as the header Link leads from one to the next."""
    found = []
    while path:
        answer = http.get(path)
        assert answer.status_code == 200
        found.append(answer.json()[key])
        link = re.fullmatch(r'<(.+)>; rel="next"', answer.headers.get("Link", ""))
        path = link[1] if link else ""
    return found


def test_all_tags_are_listed(http: httpx.Client, name: str) -> None:
    wanted = [f"v{n}" for n in range(5)]
    data = put_image(http, name, "v0")
    for tag in wanted[1:]:
        put_manifest(http, name, tag, data)
    # Distribution 2.8 lists all at once and in no order.
    for query in ("", "?n=2", "?n=5", "?n=100"):
        found = pages(http, f"/v2/{name}/tags/list{query}", "tags")
        assert sorted(tag for page in found for tag in page) == wanted
    assert refused(http.get(f"/v2/{name}/none/tags/list")) == (404, ["NAME_UNKNOWN"])


def test_the_catalog_comes_in_pages(http: httpx.Client, name: str) -> None:
    # A slash sorts before anything else.
    wanted = [f"{name}/{x}" for x in ("a", "a/z", "a-b", "b")]
    for repository in wanted:
        put_blob(http, repository, LAYER)
    every = pages(http, "/v2/_catalog?n=2", "repositories")
    assert all(len(x) <= 2 for x in every)
    assert [x for page in every for x in page if x.startswith(f"{name}/")] == wanted
    after = http.get("/v2/_catalog", params={"last": wanted[1], "n": 2}).json()["repositories"]
    assert after == wanted[2:4]
    assert http.get("/v2/_catalog", params={"last": "zzzz"}).json() == {"repositories": []}
    assert http.get("/v2/_catalog?n=0").json() == {"repositories": []}
    assert refused(http.get("/v2/_catalog?n=5000")) == (400, ["PAGINATION_NUMBER_INVALID"])
