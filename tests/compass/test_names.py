"""Names become values once, and texts again without loss."""

from operator import add

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compass.digests import digest_of
from compass.errors import InvalidInput
from compass.names import ImageName, ObjectRef, dns_name, registry_host

DIGEST = digest_of(b"x")
parts = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}", fullmatch=True)
ports = st.integers(1, 65535).map(":{}".format)
hosts = st.one_of(
    st.just("localhost"),
    st.builds(
        add, st.from_regex(r"[a-z0-9]{1,8}\.[a-z0-9-]{0,6}[a-z0-9]", fullmatch=True), st.one_of(st.just(""), ports)
    ),
    st.builds(add, st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True), ports),
    st.just("[fd00::1]:5000"),
)
tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)


@given(
    st.one_of(st.just(""), hosts),
    st.lists(parts, min_size=1, max_size=4),
    st.one_of(st.just(""), tags),
    st.one_of(st.just(""), st.binary().map(digest_of)),
)
def test_an_image_name_is_read_back_from_its_text(host: str, path: list[str], tag: str, digest: str) -> None:
    if not host and len(path) > 1 and ("." in path[0] or path[0] == "localhost"):
        path = ["x", *path]  # else its first part is a host
    name = ImageName(host, "/".join(path), tag, digest)
    assert ImageName.parse(str(name)) == name


@pytest.mark.parametrize(
    ("text", "name", "short"),
    [
        ("a.xyz/release/am_minion:v0.0.7", ImageName("a.xyz", "release/am_minion", "v0.0.7"), "am_minion:v0.0.7"),
        ("registry:5000/a:1", ImageName("registry:5000", "a", "1"), "a:1"),
        ("localhost/a", ImageName("localhost", "a"), "a"),
        ("library/nginx", ImageName("", "library/nginx"), "nginx"),
        ("nginx:1", ImageName("", "nginx", "1"), "nginx:1"),
        (f"10.0.0.1:5000/a/b@{DIGEST}", ImageName("10.0.0.1:5000", "a/b", "", DIGEST), "b"),
        (f"a.b/c:1@{DIGEST}", ImageName("a.b", "c", "1", DIGEST), "c:1"),
    ],
)  # fmt: skip
def test_an_image_name_falls_into_its_parts(text: str, name: ImageName, short: str) -> None:
    assert ImageName.parse(text) == name
    assert str(name) == text
    assert name.short == short


@pytest.mark.parametrize(
    "text",
    [
        "", "/", "a/", "/a", "a:", ":1", "a:1:2", "a@", "a@sha256:12", f"a@{DIGEST}0", f"@{DIGEST}", "A/b", "a//b",
        "a b", "a:é", "a.b/", "-a.b/c", "a.b:x/c", "https://a.b/c", "a/../b", "a/b\n", "a:" + "x" * 129,
        "x/" * 128 + "a", "a:-1", "a___b", "user@host/a",
    ],
)  # fmt: skip
def test_what_is_no_image_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        ImageName.parse(text)


def test_an_image_moves_to_another_registry_and_is_pinned() -> None:
    name = ImageName.parse("harbor.caicloud.xyz/release/a:1")
    assert str(name.at("10.0.0.1:5000")) == "10.0.0.1:5000/release/a:1"
    assert str(name.with_digest(DIGEST)) == f"harbor.caicloud.xyz/release/a:1@{DIGEST}"


@given(hosts)
def test_an_image_at_any_registry_host_is_read_back(host: str) -> None:
    name = ImageName("", "release/a", "1").at(registry_host(host))
    assert ImageName.parse(str(name)) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b/c",
        "https://a.b",
        "a b",
        "a.b:",
        "a.b:0",
        "a.b:65536",
        "a.b:123456",
        "-a.b",
        "harbor",
        "a.b\n",
        "u:p@a.b",
    ],
)
def test_what_is_no_registry_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="read registry"):
        registry_host(text)


def test_an_object_is_one_whatever_its_version() -> None:
    old, new = ObjectRef("extensions/v1", "Ingress", "a", "b"), ObjectRef("extensions/v2", "Ingress", "a", "b")
    assert old != new
    assert old.identity == new.identity
    assert old.identity != ObjectRef("networking.k8s.io/v1", "Ingress", "a", "b").identity
    assert ObjectRef("v1", "Service", "a", "b").group == ""


def test_an_object_is_named_with_its_namespace() -> None:
    assert str(ObjectRef("v1", "Service", "a", "b")) == "Service/a/b"
    assert str(ObjectRef("v1", "Namespace", "", "b")) == "Namespace/b"
    manifest = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "b"}}
    assert ObjectRef.of(manifest) == ObjectRef("v1", "Service", "", "b")


@pytest.mark.parametrize("text", ["", "A", "a_b", "-a", "a-", "a/b", "a" * 254, "a\n", "..", "#"])
def test_what_cannot_name_an_object_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="read thing"):
        dns_name(text, "thing")
    assert dns_name("a-1.b", "thing") == "a-1.b"
