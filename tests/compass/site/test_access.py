"""A kubeconfig becomes an Access, or an error that names what is wrong and shows no secret."""

import base64
from pathlib import Path
from typing import Any

import pytest

from compass.documents import dump_yaml
from compass.errors import InvalidInput
from compass.site.access import Access, parse_kubeconfig, read_access

PEM = b"-----BEGIN CERTIFICATE-----\nc2VjcmV0\n-----END CERTIFICATE-----\n"
SECRET = "hunter2-s3cr3t"


def text64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def kubeconfig(user: Any = None, cluster: Any = None, **changes: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "clusters": [{"name": "c", "cluster": {"server": "https://a:6443", **(cluster or {})}}],
        "users": [{"name": "u", "user": {"token": SECRET} if user is None else user}],
        "contexts": [
            {"name": "one", "context": {"cluster": "c", "user": "u"}},
            {"name": "two", "context": {"cluster": "c", "user": "gone"}},
        ],
        **changes,
    }


def read(document: Any, context: str | None = None, folder: Path | None = None) -> Access:
    return parse_kubeconfig(document, "kubeconfig k", context, folder)


def refused(document: Any, context: str | None = None, folder: Path | None = None) -> str:
    with pytest.raises(InvalidInput) as caught:
        read(document, context, folder)
    assert SECRET not in str(caught.value)
    assert str(caught.value).startswith("read kubeconfig k: ")
    return str(caught.value)


def test_data_is_decoded() -> None:
    user = {"client-certificate-data": text64(PEM), "client-key-data": text64(b"key")}
    access = read(kubeconfig(user, {"certificate-authority-data": text64(PEM), "tls-server-name": "x"}))
    assert (access.server, access.name, access.ca_pem) == ("https://a:6443", "one", PEM)
    assert (access.client_cert_pem, access.client_key_pem, access.tls_server_name) == (PEM, b"key", "x")
    assert access.skip_tls_verify is False


def test_data_may_have_line_breaks_as_the_base64_command_makes_them() -> None:
    data = base64.encodebytes(PEM * 3).decode()
    assert data.count("\n") > 2
    assert read(kubeconfig({"client-key-data": data.replace("\n", "\r\n")})).client_key_pem == PEM * 3


def test_files_are_taken_from_the_kubeconfigs_folder(tmp_path: Path) -> None:
    for name, data in (("ca.pem", PEM), ("pki/user.pem", PEM), ("pki/key.pem", b"key"), ("token", b" tok\n")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    user = {"client-certificate": "pki/user.pem", "client-key": str(tmp_path / "pki/key.pem"), "tokenFile": "token"}
    (tmp_path / "config").write_text(dump_yaml(kubeconfig(user, {"certificate-authority": "ca.pem"})))
    access = read_access(tmp_path / "config")
    assert (access.ca_pem, access.client_cert_pem, access.client_key_pem) == (PEM, PEM, b"key")
    assert access.token == "tok"
    assert access.where == f"kubeconfig {tmp_path / 'config'}"


def test_data_goes_before_a_file_and_a_token_before_its_file() -> None:
    access = read(
        kubeconfig({"token": "t", "tokenFile": "/none", "client-key-data": text64(b"k"), "client-key": "/none"})
    )
    assert (access.token, access.client_key_pem) == ("t", b"k")


def test_a_file_that_is_not_there_or_may_not_be_named_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"read tokenFile .*/none: No such file"):
        read(kubeconfig({"tokenFile": "none"}), folder=tmp_path)
    assert "certificate-authority names a file, expected certificate-authority-data" in refused(
        kubeconfig(cluster={"certificate-authority": "ca.pem"})
    )


@pytest.mark.parametrize("way", ["exec", "auth-provider"])
def test_signing_in_by_a_program_is_refused(way: str) -> None:
    assert f"user signs in by '{way}', which runs a program" in refused(kubeconfig({way: {"command": SECRET}}))


def test_a_password_a_proxy_and_no_check_are_read() -> None:
    access = read(
        kubeconfig({"username": "a", "password": 1234}, {"insecure-skip-tls-verify": True, "proxy-url": "http://p"})
    )
    assert (access.username, access.password, access.skip_tls_verify, access.proxy_url) == (
        "a",
        "1234",
        True,
        "http://p",
    )
    assert read(kubeconfig(cluster={"insecure-skip-tls-verify": "true"})).skip_tls_verify is False


def test_no_secret_is_in_the_repr() -> None:
    access = Access(
        "https://a", "w", proxy_url=f"http://u:{SECRET}@p", token=SECRET, password=SECRET,
        client_cert_pem=SECRET.encode(), client_key_pem=SECRET.encode(),
    )  # fmt: skip
    assert SECRET not in repr(access)
    assert SECRET not in str(access)
    assert "https://a" in repr(access)


def test_a_context_may_be_chosen_and_one_alone_needs_no_choice() -> None:
    contexts = [{"name": "x", "context": {"cluster": "c"}}]
    access = read(kubeconfig(contexts=contexts, **{"current-context": ""}))
    assert (access.name, access.token) == ("x", ""), "a context without a user is anonymous"
    both = kubeconfig(**{"current-context": ""})
    assert read(both, "one").name == "one"
    assert "no current-context, expected one; pass --context" in refused(both)


def test_what_is_missing_is_named_with_what_is_there() -> None:
    assert "no context 'three', expected one of: one, two" in refused(kubeconfig(), "three")
    assert "no user 'gone', expected one of: u" in refused(kubeconfig(), "two")
    assert "no cluster 'c', expected one of: none" in refused(kubeconfig(clusters=[]))
    assert "no cluster 'c', expected one of: d" in refused(kubeconfig(clusters=[{"name": "d", "cluster": {}}]))
    assert "no cluster 'c', expected one of: c" in refused(kubeconfig(clusters=[{"name": "c", "cluster": None}]))


@pytest.mark.parametrize("document", [None, [], "x", {}, {"clusters": {}}, {"clusters": "x", "token": SECRET}])
def test_what_is_no_kubeconfig_is_refused(document: Any) -> None:
    assert "no list of clusters, expected a kubeconfig" in refused(document)


@pytest.mark.parametrize("server", ["", None, "a:6443", "ftp://a", "HTTPS://a"])
def test_a_server_without_address_is_refused(server: object) -> None:
    assert "expected https://host[:port]" in refused(kubeconfig(cluster={"server": server}))


@pytest.mark.parametrize("data", [SECRET + "!", "!aGk=", "aG k=", "-----BEGIN KEY " + SECRET, "a", "é"])
@pytest.mark.parametrize("key", ["client-key-data", "client-certificate-data"])
def test_data_that_is_no_base64_is_named_and_not_shown(key: str, data: str) -> None:
    assert f"{key} is no base64" in refused(kubeconfig({key: data}))


@pytest.mark.parametrize(
    "value", [SECRET, f"*{SECRET}", f"!{SECRET}", f"'{SECRET}", f"!!int {SECRET}", f"{{{SECRET}", f"@{SECRET}"]
)
def test_a_file_that_does_not_parse_is_named_and_not_shown(tmp_path: Path, value: str) -> None:
    path = tmp_path / "config"
    path.write_text(f"users:\n- user:\n    password: {value}\n")
    with pytest.raises(InvalidInput, match=f"read kubeconfig {path}") as caught:
        read_access(path)
    assert SECRET not in str(caught.value)


def test_an_absent_kubeconfig_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"read kubeconfig .*/none: No such file"):
        read_access(tmp_path / "none")
