"""Credentials are found where Docker and Podman keep them, and never shown."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from compass.errors import InvalidInput
from compass.images.registry.credentials import Credentials, find_credentials

HOST = "harbor.example.org:5000"
ANNE = Credentials("anne", "pa:ss")
AUTH = {"auth": base64.b64encode(b"anne:pa:ss").decode()}


def docker_config(home: Path, value: Any) -> Path:
    path = home / ".docker/config.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


@pytest.mark.parametrize("key", [HOST, f"https://{HOST}", f"https://{HOST}/v1/", f"http://{HOST}/v2/", f"{HOST}/"])
def test_the_key_may_carry_a_scheme_and_a_version(key: str, tmp_path: Path) -> None:
    docker_config(tmp_path, {"auths": {"other.org": {"auth": "eDp5"}, key: AUTH}})
    assert find_credentials(HOST, {}, tmp_path) == ANNE


@pytest.mark.parametrize("key", ["harbor.example.org", f"{HOST}/project", f"evil{HOST}", f"https://{HOST}.evil.org"])
def test_another_host_or_path_is_not_ours(key: str, tmp_path: Path) -> None:
    docker_config(tmp_path, {"auths": {key: AUTH}})
    assert find_credentials(HOST, {}, tmp_path) is None


@pytest.mark.parametrize("variable", ["DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"])
def test_every_place_is_looked_at(variable: str, tmp_path: Path) -> None:
    place, file = {
        "DOCKER_CONFIG": (tmp_path / "d", "config.json"),
        "REGISTRY_AUTH_FILE": (tmp_path / "r" / "x.json", ""),
        "XDG_RUNTIME_DIR": (tmp_path / "x", "containers/auth.json"),
    }[variable]
    path = place / file if file else place
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"auths": {HOST: {"username": "anne", "password": "pa:ss"}}}))
    assert find_credentials(HOST, {variable: str(place)}, tmp_path / "home") == ANNE


def test_the_environment_comes_first_and_the_fallback_last(tmp_path: Path) -> None:
    docker_config(tmp_path, {"auths": {HOST: AUTH}})
    variables = {"COMPASS_REGISTRY_USERNAME": "bob", "COMPASS_REGISTRY_PASSWORD": "x"}
    fallback = Credentials("carol", "y")
    assert find_credentials(HOST, variables, tmp_path, fallback) == Credentials("bob", "x")
    assert find_credentials(HOST, {}, tmp_path, fallback) == ANNE
    assert find_credentials("else.org", {}, tmp_path, fallback) == fallback
    assert find_credentials("else.org", {}, tmp_path) is None


def test_an_identity_token_is_found(tmp_path: Path) -> None:
    docker_config(tmp_path, {"auths": {HOST: {**AUTH, "identitytoken": "tok"}}})
    assert find_credentials(HOST, {}, tmp_path) == Credentials("anne", "pa:ss", "tok")


def test_one_variable_alone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="COMPASS_REGISTRY_PASSWORD is not set"):
        find_credentials(HOST, {"COMPASS_REGISTRY_USERNAME": "bob"}, tmp_path)


@pytest.mark.parametrize(
    "value", [{"credHelpers": {HOST: "ecr-login"}}, {"credsStore": "ecr-login", "auths": {HOST: {}}}]
)
def test_a_helper_is_named_and_not_run_when_nothing_else_helps(value: Any, tmp_path: Path) -> None:
    docker_config(tmp_path, value)
    with pytest.raises(InvalidInput, match=r"only the credential helper 'ecr-login' in .* is not run"):
        find_credentials(HOST, {}, tmp_path)
    assert find_credentials(HOST, {}, tmp_path, ANNE) == ANNE


def test_a_store_without_an_entry_for_the_host_means_no_credentials(tmp_path: Path) -> None:
    docker_config(tmp_path, {"credsStore": "desktop", "auths": {"other.org": {}}})
    assert find_credentials(HOST, {}, tmp_path) is None


@pytest.mark.parametrize(
    "auth", ["%%%", base64.b64encode(b"nocolon").decode(), base64.b64encode(b"\xff:\xff").decode()]
)
def test_a_damaged_entry_is_named_without_its_secret(auth: str, tmp_path: Path) -> None:
    path = docker_config(tmp_path, {"auths": {HOST: {"auth": auth}}})
    with pytest.raises(InvalidInput, match=f"{path}: {HOST}") as caught:
        find_credentials(HOST, {}, tmp_path)
    assert auth not in str(caught.value)


@pytest.mark.parametrize("text", ["[]", "{", ""])
def test_a_file_of_another_form_is_named(text: str, tmp_path: Path) -> None:
    path = docker_config(tmp_path, {})
    path.write_text(text)
    with pytest.raises(InvalidInput, match=str(path)):
        find_credentials(HOST, {}, tmp_path)


def test_the_secret_is_never_shown() -> None:
    shown = repr(Credentials("anne", "hidden", "secret"))
    assert "anne" in shown
    assert "hidden" not in shown
    assert "secret" not in shown
