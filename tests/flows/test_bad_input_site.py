"""Site files, kubeconfigs, options and registries that are wrong: nothing is touched, and the place is named."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import MakeControlPlane, MakeRegistry
from tests.flows.running import Case, site_registry
from tests.material.clusters import install_definitions
from tests.servers.certificates import Authority
from tests.servers.control_plane import ControlPlane, text64
from tests.servers.registry import DockerRegistry, Login

pytestmark = [pytest.mark.servers, pytest.mark.shared_prefect]
ENVIRONMENT = ".install-env.sh"
KUBECONFIG = ".kubectl.kubeconfig"


@pytest.fixture(scope="module")
def bare(make_control_plane: MakeControlPlane) -> Iterator[ControlPlane]:
    """A cluster that knows neither Releases nor Cluster objects."""
    with make_control_plane(controllers=False) as plane:
        yield plane


@pytest.fixture(scope="module")
def childless(make_control_plane: MakeControlPlane) -> Iterator[ControlPlane]:
    """A control cluster that has no Cluster object."""
    with make_control_plane(controllers=False) as plane:
        install_definitions(plane)
        yield plane


@pytest.fixture(scope="module")
def locked(make_registry: MakeRegistry) -> DockerRegistry:
    """A registry that wants a password."""
    return make_registry(login=Login("admin", "the-right-one"))


@pytest.fixture(scope="module")
def private(make_registry: MakeRegistry) -> DockerRegistry:
    """A registry whose certificate is signed by an authority of its own."""
    return make_registry(tls=True)


def change_kubeconfig(case: Case, **cluster: Any) -> Path:
    """Change what the site's kubeconfig says of its cluster."""
    path = case.files / KUBECONFIG
    document = yaml.safe_load(path.read_text())
    document["clusters"][0]["cluster"] |= cluster
    path.write_text(yaml.safe_dump(document))
    return path


def test_an_environment_without_the_registry_is_refused(case: Case, bundle: Path) -> None:
    path = case.files / ENVIRONMENT
    path.write_text("#!/bin/bash\nexport CARGO_CFG_IP=127.0.0.1\n")
    error = case.refused(bundle)
    assert f"read site environment {path}: no CARGO_CFG_DOMAIN" in error
    assert "pass --registry" in error


def test_an_environment_whose_registry_only_a_shell_could_tell_is_refused(case: Case, bundle: Path) -> None:
    path = case.files / ENVIRONMENT
    path.write_text(f"CARGO_CFG_DOMAIN=$(touch {case.desk.folder}/executed; echo 127.0.0.1:5000)\n")
    assert f"read site environment {path}: no CARGO_CFG_DOMAIN" in case.refused(bundle)
    assert not (case.desk.folder / "executed").exists()


def test_a_site_without_an_environment_is_refused(case: Case, bundle: Path) -> None:
    (case.files / ENVIRONMENT).unlink()
    assert f"read site environment {case.files / ENVIRONMENT}: No such file" in case.refused(bundle)


def test_a_registry_with_a_path_is_refused(case: Case, bundle: Path) -> None:
    (case.files / ENVIRONMENT).write_text("CARGO_CFG_DOMAIN=registry.example/release\n")
    assert "read registry 'registry.example/release': expected host[:port]" in case.refused(bundle)


def test_a_site_without_a_kubeconfig_is_refused(case: Case, bundle: Path) -> None:
    (case.files / KUBECONFIG).unlink()
    error = case.refused(bundle)
    assert f"read kubeconfig {case.files / KUBECONFIG}: no such file" in error


def test_without_any_option_the_site_two_folders_above_is_looked_for(case: Case, bundle: Path) -> None:
    error = case.refused(bundle, "--quiet")
    assert str(bundle.parent.parent) in error


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("clusters: [\n", "line 2, column 1: "),
        ("kind: Config\nkind: Config\n", "key 'kind' given twice"),
        ("<html>proxy error</html>\n", "no list of clusters"),
        ("", "no list of clusters"),
    ],
    ids=["no YAML", "a key twice", "a web page", "empty"],
)
def test_a_kubeconfig_that_does_not_parse_is_refused(case: Case, bundle: Path, text: str, found: str) -> None:
    path = case.files / KUBECONFIG
    path.write_text(text)
    error = case.refused(bundle)
    assert f"read kubeconfig {path}: " in error
    assert found in error


def test_a_kubeconfig_with_a_certificate_that_is_no_base64_is_refused(case: Case, bundle: Path) -> None:
    path = change_kubeconfig(case, **{"certificate-authority-data": "?not base64?"})
    assert f"read kubeconfig {path}: certificate-authority-data is no base64" in case.refused(bundle)


def test_a_kubeconfig_with_a_certificate_that_is_no_certificate_is_refused(case: Case, bundle: Path) -> None:
    path = change_kubeconfig(case, **{"certificate-authority-data": text64(b"no certificate")})
    assert f"read certificates of kubeconfig {path}: " in case.refused(bundle)


def test_a_context_that_is_not_there_is_refused(case: Case, bundle: Path) -> None:
    error = case.refused(bundle, *case.where(), "--context", "elsewhere")
    assert f"read kubeconfig {case.files / KUBECONFIG}: no context 'elsewhere', expected one of: control" in error


def test_a_context_without_a_kubeconfig_is_refused(case: Case, bundle: Path) -> None:
    error = case.refused(bundle, "--context", "control", "--registry", case.registry)
    assert "read option --context: no kubeconfig; pass --kubeconfig too" in error


def test_a_cluster_that_has_no_kind_cluster_is_refused(case: Case, bundle: Path, bare: ControlPlane) -> None:
    bare.kubeconfig(case.files / KUBECONFIG)
    error = case.refused(bundle)
    assert f"find clusters on kubeconfig {case.files / KUBECONFIG}: no kind resource.caicloud.io/v1beta1" in error


def test_a_control_cluster_without_a_cluster_object_is_refused(
    case: Case, bundle: Path, childless: ControlPlane
) -> None:
    childless.kubeconfig(case.files / KUBECONFIG)
    error = case.refused(bundle)
    assert f"find clusters on kubeconfig {case.files / KUBECONFIG}: no Cluster object, expected at least one" in error


def test_a_cluster_that_the_site_does_not_know_is_refused(case: Case, bundle: Path) -> None:
    error = case.refused(bundle, *case.where(), "--cluster", "user-9")
    assert "find cluster user-9: no such Cluster object, expected one of: control, user-1, user-2" in error


def test_a_cluster_whose_certificate_another_authority_signed_is_refused(case: Case, bundle: Path) -> None:
    other = Authority("somebody else").cert_pem
    path = change_kubeconfig(case, **{"certificate-authority-data": text64(other)})
    error = case.refused(bundle)
    assert f"kubeconfig {path}: the certificate of {case.site.control.url} is not signed by the CA" in error


def test_a_kubeconfig_that_the_cluster_does_not_accept_is_refused(case: Case, bundle: Path) -> None:
    case.site.control.kubeconfig(case.files / KUBECONFIG, token="of-nobody")
    error = case.refused(bundle, status=4)
    assert f"kubeconfig {case.files / KUBECONFIG}: the API server does not accept the credentials" in error
    assert "of-nobody" not in error


def test_a_kubeconfig_of_somebody_who_may_do_nothing_is_refused(case: Case, bundle: Path) -> None:
    case.site.control.kubeconfig(case.files / KUBECONFIG, token=case.site.control.reader_token)
    error = case.refused(bundle, status=4)
    assert 'User "reader" cannot list resource "clusters"' in error


def test_a_registry_password_that_is_wrong_is_refused(
    case: Case, bundle: Path, locked: DockerRegistry, tmp_path: Path
) -> None:
    auth = base64.b64encode(b"admin:the-wrong-one").decode()
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker/config.json").write_text(json.dumps({"auths": {locked.host: {"auth": auth}}}))
    before = locked.everything()
    words = (*case.where(), "--registry", site_registry(locked))
    error = case.refused(bundle, *words, environ={"DOCKER_CONFIG": str(tmp_path / "docker")}, status=4)
    assert locked.host in error
    assert "answer 401" in error
    assert "log" in error, "says how to log in"
    assert "the-wrong-one" not in error
    assert locked.everything() == before


def test_a_registry_that_wants_a_password_and_gets_none_is_refused(
    case: Case, bundle: Path, locked: DockerRegistry
) -> None:
    (case.files / ENVIRONMENT).write_text(f"CARGO_CFG_DOMAIN={site_registry(locked)}\n")
    error = case.refused(bundle, status=4)
    assert f"at registry {locked.host}" in error
    assert "answer 401" in error


def test_a_registry_whose_authority_is_not_known_is_refused(case: Case, bundle: Path, private: DockerRegistry) -> None:
    error = case.refused(bundle, *case.where(), "--registry", private.host)
    assert f"connect to registry {private.host}: a certificate that is not trusted" in error


def test_a_registry_whose_authority_is_given_is_let_through(case: Case, bundle: Path, private: DockerRegistry) -> None:
    words = (*case.where(), "--registry", private.host, "--registry-ca", str(private.ca_file), "--allow-data-loss")
    done = case.desk.run("plan", bundle, *words)
    assert done.status == 3, done.err


def test_a_registry_authority_that_is_no_certificate_is_refused(case: Case, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("no certificate")
    words = (*case.where(), "--registry", case.registry, "--registry-ca", str(tmp_path / "ca.crt"))
    assert f"read the registry's CA file {tmp_path / 'ca.crt'}" in case.refused(bundle, *words)


def test_a_registry_without_tls_is_refused_unless_http_is_said(case: Case, bundle: Path) -> None:
    error = case.refused(bundle, *case.where(), "--registry", case.site.registry.host)
    assert f"connect to registry {case.site.registry.host}: no TLS, expected https; pass --registry http://" in error


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--frobnicate"], "--frobnicate"),
        (["--timeout", "soon"], "--timeout"),
        (["--timeout", "0"], "--timeout: 0.0, expected more than 0"),
        (["--output", "xml"], '"xml"'),
        (["another", "and-another"], "another"),
    ],
    ids=["unknown option", "no number", "no time at all", "no such form", "two bundles"],
)
def test_wrong_usage_is_refused(case: Case, bundle: Path, words: list[str], found: str) -> None:
    assert found in case.refused(bundle, *case.where(), *words)


def test_a_verb_that_is_not_there_is_refused(case: Case, bundle: Path) -> None:
    with case.untouched(bundle):
        done = case.desk.run("downgrade", bundle)
    assert done.status == 2
    assert "downgrade" in done.error
