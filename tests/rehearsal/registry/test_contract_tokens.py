"""How a registry with a token server asks for a token, the same of ours and of Debian's.

Source: distribution's specification Token Authentication, section How to authenticate.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rehearsal.registry import Login, SimulatedRegistry
from tests.rehearsal.registry.talk import PASSWORD, USER, Peer, codes
from tests.servers.assets import Assets
from tests.servers.certificates import Authority
from tests.servers.need import need
from tests.servers.registry import DockerRegistry

UPLOAD = "/v2/a/blobs/uploads/7d656409-0a79-4c6a-9107-b4a08c0811c3"


class WithTokens(DockerRegistry):
    """Debian's registry with a token server; nobody is there, so it only ever asks."""

    def _config(self, port: int) -> dict[str, Any]:
        trusted = self.folder / "tokens.crt"
        trusted.write_bytes(Authority("tokens").cert_pem)
        service = {"realm": f"http://127.0.0.1:{port}/token", "service": "rehearsal", "issuer": "tests"}
        return {**super()._config(port), "auth": {"token": {**service, "rootcertbundle": str(trusted)}}}

    def _answers(self, port: int) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/v2/", trust_env=False).status_code == httpx.codes.UNAUTHORIZED
        except httpx.TransportError as error:
            raise OSError(str(error)) from None


@pytest.fixture(params=["simulated", pytest.param("docker-registry", marks=pytest.mark.servers)])
def http(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of each of the two registries."""
    server: SimulatedRegistry | DockerRegistry
    if request.param == "simulated":
        server = SimulatedRegistry(tmp_path, login=Login(USER, PASSWORD, tokens=True))
    else:
        assets: Assets = request.getfixturevalue("assets")
        server = need(lambda: WithTokens(assets, tmp_path))
    with server, Peer(request.param, server.host).client() as client:
        yield client


def asked(answer: httpx.Response) -> tuple[dict[str, str], dict[str, set[str]]]:
    """Return the words of a challenge, and what its scopes want to do where."""
    assert (answer.status_code, codes(answer)) == (401, ["UNAUTHORIZED"])
    scheme, _, text = answer.headers["WWW-Authenticate"].partition(" ")
    assert scheme == "Bearer"
    # A comma within quotes parts actions.
    words = dict(x.split("=", 1) for x in text.replace('",', '"\n').splitlines())
    words = {key: value.strip('"') for key, value in words.items()}
    scopes = [x.rpartition(":") for x in words.pop("scope", "").split()]
    return words, {what: set(actions.split(",")) for what, _, actions in scopes}


@pytest.mark.parametrize(
    ("method", "path", "wanted"),
    [
        ("GET", "/v2/", {}),
        ("GET", "/v2/a/tags/list", {"repository:a": {"pull"}}),
        ("POST", "/v2/a/blobs/uploads/", {"repository:a": {"pull", "push"}}),
        ("POST", "/v2/a/blobs/uploads/?mount=x&from=b", {"repository:a": {"pull", "push"}, "repository:b": {"pull"}}),
        ("PUT", "/v2/a/manifests/v1", {"repository:a": {"pull", "push"}}),
        ("DELETE", UPLOAD, {"repository:a": {"delete"}}),
        ("GET", "/v2/_catalog", {"registry:catalog": {"*"}}),
    ],
)
def test_what_a_token_must_allow(http: httpx.Client, method: str, path: str, wanted: dict[str, set[str]]) -> None:
    words, scopes = asked(http.request(method, path))
    assert words == {"realm": f"{http.base_url}/token".replace("//token", "/token"), "service": "rehearsal"}
    assert scopes == wanted


def test_a_token_that_is_none(http: httpx.Client) -> None:
    words, _ = asked(http.get("/v2/a/tags/list", headers={"Authorization": "Bearer not.a.token"}))
    assert words["error"] == "invalid_token"
    words, _ = asked(http.get("/v2/a/tags/list", headers={"Authorization": "Basic dTpw"}))
    assert "error" not in words
