"""Cluster objects: which clusters a site has, and how each is reached."""

import base64
from typing import Any

import pytest

from compass.errors import InvalidInput
from compass.site.access import Access
from compass.site.clusters import member_access, read_members
from tests.material.templates import KUBECONFIG_CERTIFICATE, KUBECONFIG_PASSWORD

PEM = "-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN RSA PRIVATE KEY-----\nYg==\n-----END RSA PRIVATE KEY-----\n"
ENDPOINT = {"endpointIP": "10.0.0.1", "endpointPort": "6443"}
SERVER = "https://10.0.0.1:6443"
AWKWARD = [
    "p: {a} [b] 'c' \"d\" #e", "clusterName", "kubeUser", "endpointIP:endpointPort", "*x", "!x", "|", "> x", "true",
    "~", "a\nb: c", "%", "\\1", r"\g<0>", "1e3", " x ", "密码",
]  # fmt: skip


def text64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def cluster(name: str = "user1", *, control: object = False, **auth: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"isControlCluster": control, "auth": {**ENDPOINT, **auth}}}


def by_name(ca: str = PEM, cert: str = PEM, key: str = KEY, *, encode: bool = True) -> dict[str, Any]:
    ca, cert, key = (text64(x) if encode else x for x in (ca, cert, key))
    return {
        "clusters": {"c": {"server": "https://inner:1", "certificate-authority-data": ca}},
        "users": {"u": {"client-certificate-data": cert, "client-key-data": key}},
        "contexts": {"x": {"cluster": "c", "user": "u"}},
        "current-context": "x",
    }


def access(item: dict[str, Any], template: str | None = None) -> Access:
    return member_access(item, template, "control")


def refused(item: dict[str, Any], template: str | None = None, secret: str = "hunter2") -> str:
    with pytest.raises(InvalidInput) as caught:
        access(item, template)
    assert secret not in str(caught.value)
    assert "Cluster/user1 on control" in str(caught.value)
    return str(caught.value)


def test_a_token_reaches_the_endpoint() -> None:
    found = access(cluster(kubeToken="t"))
    assert (found.server, found.token, found.skip_tls_verify) == (SERVER, "t", True)


def test_a_name_and_a_password_reach_the_endpoint() -> None:
    found = access(cluster(kubeUser="a", kubePassword=1234))
    assert (found.server, found.username, found.password) == (SERVER, "a", "1234")


@pytest.mark.parametrize("encode", [True, False], ids=["base64", "plain PEM"])
@pytest.mark.parametrize("template", [None, KUBECONFIG_PASSWORD])
def test_maps_by_name_are_read_as_a_kubeconfig(encode: bool, template: str | None) -> None:
    found = access(cluster(kubeConfig=by_name(encode=encode)), template)
    assert (found.server, found.ca_pem.decode()) == ("https://inner:1", PEM)
    assert (found.client_cert_pem.decode(), found.client_key_pem.decode()) == (PEM, KEY)
    assert found.skip_tls_verify is False


def test_a_kubeconfig_goes_before_a_token_and_a_token_before_a_password() -> None:
    everything = {"kubeToken": "t", "kubeUser": "a", "kubePassword": "p"}
    assert access(cluster(kubeConfig=by_name(), **everything)).client_key_pem.decode() == KEY
    assert access(cluster(**everything)).token == "t"


@pytest.mark.parametrize("encode", [True, False], ids=["base64", "plain PEM"])
def test_the_template_by_certificate_is_filled(encode: bool) -> None:
    found = access(cluster(kubeConfig=by_name(encode=encode)), KUBECONFIG_CERTIFICATE)
    assert (found.server, found.name, found.ca_pem.decode()) == (SERVER, "user1", PEM)
    assert (found.client_cert_pem.decode(), found.client_key_pem.decode()) == (PEM, KEY)


@pytest.mark.parametrize("password", AWKWARD)
def test_the_template_by_password_is_filled_whatever_the_password(password: str) -> None:
    found = access(cluster(kubeUser="ad: min", kubePassword=password), KUBECONFIG_PASSWORD)
    assert (found.server, found.name, found.username, found.password) == (SERVER, "user1", "ad: min", password)
    assert found.skip_tls_verify is True


def test_a_template_that_asks_for_what_the_object_lacks_is_not_used() -> None:
    assert access(cluster(kubeToken="t"), KUBECONFIG_PASSWORD).token == "t"
    assert access(cluster(kubeToken="t"), KUBECONFIG_CERTIFICATE).token == "t"
    assert access(cluster(kubeToken="t"), "clusters: []").token == "t"


@pytest.mark.parametrize("missing", ENDPOINT)
@pytest.mark.parametrize("template", [None, KUBECONFIG_PASSWORD])
@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_endpoint_is_named(missing: str, template: str | None, value: object) -> None:
    for way in ({"kubeToken": "hunter2"}, {"kubeUser": "a", "kubePassword": "hunter2"}):
        assert f"no spec.auth.{missing}" in refused(cluster(**way, **{missing: value}), template)


def test_a_template_needs_the_whole_endpoint_but_a_kubeconfig_has_its_own() -> None:
    found = access(cluster(kubeConfig=by_name(), endpointPort=""), KUBECONFIG_CERTIFICATE)
    assert found.server == "https://inner:1"


def test_missing_credentials_are_named() -> None:
    assert "no credentials, expected kubeConfig, kubeToken or kubeUser" in refused(cluster())
    assert "no spec.auth.kubePassword" in refused(cluster(kubeUser="a"))
    assert "no spec.auth" in refused({"metadata": {"name": "user1"}, "spec": {}})
    assert "no spec.auth" in refused({"metadata": {"name": "user1"}})
    assert "spec.auth.kubeConfig without users" in refused(cluster(kubeConfig={"clusters": {}}))


def test_a_broken_certificate_is_named_and_not_shown() -> None:
    config = by_name()
    config["users"]["u"]["client-key-data"] = "hunter2!"
    assert "client-key-data is no base64" in refused(cluster(kubeConfig=config))
    assert "client-key-data is no base64" in refused(cluster(kubeConfig=config), KUBECONFIG_CERTIFICATE)


def test_a_template_that_is_no_yaml_is_named() -> None:
    assert "templates/kubeconfig.j2 for Cluster/user1" in refused(
        cluster(kubeUser="a", kubePassword="hunter2"), KUBECONFIG_PASSWORD + "a: ["
    )


def test_the_control_cluster_comes_first_then_by_name() -> None:
    items = [cluster("b", kubeToken="t"), cluster("zz", control=True), cluster("a", kubeToken="t")]
    found = read_members(items, "control")
    assert [(x.name, x.role, x.endpoint, x.port) for x in found] == [
        ("zz", "control", "10.0.0.1", "6443"),
        ("a", "user", "10.0.0.1", "6443"),
        ("b", "user", "10.0.0.1", "6443"),
    ]
    assert [x.problem for x in found] == ["", "", ""], "the control cluster needs no credentials of its own"


def test_a_cluster_that_cannot_be_reached_stays_in_the_list_with_its_problem() -> None:
    found = read_members(
        [cluster("c", control=True), cluster("a"), cluster("b", kubeToken="hunter2", endpointIP="")], "w"
    )
    assert "no credentials" in found[1].problem
    assert "no spec.auth.endpointIP" in found[2].problem
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([], "no Cluster object, expected at least one"),
        ([cluster("a", kubeToken="t")], "none, expected one"),
        ([cluster("a", kubeToken="t", control="true")], "none, expected one"),
        (
            [cluster("b", control=True), cluster("a", control=True)],
            r"2 with spec.isControlCluster \(a, b\), expected one",
        ),
    ],
)
def test_a_site_has_one_control_cluster(items: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        read_members(items, "kubeconfig k")
