"""How a simulated node asks the registry for an image: everything a pull needs is checked, nothing is kept."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

import httpx

from compass.digests import digest_of
from compass.errors import CompassError
from compass.names import ImageName

_ANY_MANIFEST = ", ".join(
    f"application/vnd.{x}+json"
    for x in ("oci.image.manifest.v1", "oci.image.index.v1", "docker.distribution.manifest.v2",
              "docker.distribution.manifest.list.v2")
)  # fmt: skip


class PullFailed(Exception):
    """An image cannot be pulled; the message is containerd's."""


class ImageSource:
    """The registries as a node reaches them.

    ``registries`` maps a host in image names to a base URL, ``logins`` to user and password; ``ca_pem`` is trusted
    besides the system's authorities.
    """

    def __init__(
        self, registries: Mapping[str, str], logins: Mapping[str, tuple[str, str]] | None = None, ca_pem: str = ""
    ) -> None:
        context, known = trusting(ca_pem), logins or {}
        self._clients = {
            host: httpx.Client(base_url=url, auth=known.get(host), verify=context, timeout=10, trust_env=False)
            for host, url in registries.items()
        }

    def pull(self, text: str) -> str:
        """Return ``<registry>/<repository>@<digest>`` when the registry holds the image with all its blobs.

        Raises:
            PullFailed: it does not, or does not answer.
        """
        try:
            name = ImageName.parse(text)
            digest = self._resolve(name, name.digest or name.tag or "latest")
        except httpx.HTTPError as error:
            raise _failed(text, "Unknown", f"failed to do request: {error}") from None
        except CompassError:
            raise PullFailed(f'Failed to apply default image tag "{text}": couldn\'t parse image reference') from None
        return f"{name.registry}/{name.repository}@{digest}"

    def _resolve(self, name: ImageName, reference: str) -> str:
        client = self._clients.get(name.registry)
        if not client:
            host = name.registry or "docker.io"
            raise _failed(str(name), "Unknown", f"failed to do request: dial tcp: lookup {host}: no such host")
        answer = client.get(f"/v2/{name.repository}/manifests/{reference}", headers={"Accept": _ANY_MANIFEST})
        _expect_success(name, f"{name}: not found", answer)
        manifest = answer.json()
        if "manifests" in manifest:
            # The node takes its own architecture; the first is as good here.
            self._resolve(name, manifest["manifests"][0]["digest"])
        for blob in (manifest.get("config"), *manifest.get("layers", [])):
            if blob:
                found = client.head(f"/v2/{name.repository}/blobs/{blob['digest']}")
                _expect_success(name, f"failed to copy: content at {found.url} not found", found)
        return str(answer.headers.get("Docker-Content-Digest") or digest_of(answer.content))

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()


def _expect_success(name: ImageName, missing: str, answer: httpx.Response) -> None:
    if answer.status_code == httpx.codes.NOT_FOUND:
        raise _failed(str(name), "NotFound", missing)
    if not answer.is_success:
        status = f"unexpected status code {answer.url}: {answer.status_code} {answer.reason_phrase}"
        raise _failed(str(name), "Unknown", status)


def _failed(image: str, code: str, why: str) -> PullFailed:
    head = f'failed to pull and unpack image "{image}": failed to resolve reference "{image}"'
    return PullFailed(f"rpc error: code = {code} desc = {head}: {why}")


def trusting(ca_pem: str) -> ssl.SSLContext:
    """Return a context that trusts ``ca_pem`` besides the system's authorities."""
    context = ssl.create_default_context()
    if ca_pem:
        context.load_verify_locations(cadata=ca_pem)
    return context
