"""The one module that imports the Kubernetes client: one request at a time, errors as our families."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import urllib3
from kubernetes import client as official
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.resource import Resource

from compass.cluster.once import Lost
from compass.cluster.transport import FIELD_MANAGER, Absent, authorization, connections, refused, unreachable
from compass.errors import CompassError, Transient
from compass.site.access import Access

_TIMEOUT_SECONDS = (10.0, 60.0)  # to connect, to read


class _Discoverer:
    """Which resource serves a kind: asked per API version, kept for the life of the client, in memory only.

    The client's own discoverers keep a file of a guessable name in the shared temporary folder, and set no time-out.
    """

    def __init__(self, client: DynamicClient, cache_file: object = None) -> None:
        self._client = client
        self._served: dict[str, dict[str, Resource]] = {}

    def find(self, api_version: str, kind: str, ask: Callable[[str], Any]) -> Resource | None:
        if kind not in self._served.get(api_version, {}):
            self._served[api_version] = self._load(api_version, ask)
        return self._served[api_version].get(kind)

    def _load(self, api_version: str, ask: Callable[[str], Any]) -> dict[str, Resource]:
        group, _, version = api_version.rpartition("/")
        answer = ask(f"/apis/{api_version}" if group else f"/api/{version}")
        found = {}
        for entry in (answer or {}).get("resources") or []:
            if "/" not in entry["name"]:
                found[entry["kind"]] = Resource(  # type: ignore[no-untyped-call]
                    prefix="apis" if group else "api", group=group, api_version=version, client=self._client,
                    kind=entry["kind"], name=entry["name"], namespaced=entry["namespaced"], verbs=entry["verbs"],
                )  # fmt: skip
        return found


class Wire:
    """Connections to one API server, shared by threads."""

    def __init__(self, access: Access) -> None:
        self.server = access.server
        self._timeout_seconds = _TIMEOUT_SECONDS
        self._api = official.ApiClient(_configuration(access))
        self._api.rest_client.pool_manager = connections(access)
        self._api.user_agent = FIELD_MANAGER
        self._api.default_headers.update(authorization(access))
        self._dynamic: Any = DynamicClient(self._api, discoverer=_Discoverer)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Give the connections back."""
        self._api.rest_client.pool_manager.clear()

    def hasty(self, timeout_seconds: float) -> Wire:
        """Return the same connections, waiting at most so long for an answer."""
        other = copy.copy(self)
        other._timeout_seconds = (timeout_seconds, timeout_seconds)
        return other

    def find(self, api_version: str, kind: str, ask: Callable[[str], Any]) -> Resource | None:
        """Return what serves a kind, ``None`` when nothing does; ``ask`` reads a path where it is not known yet."""
        found: Resource | None = self._dynamic.resources.find(api_version, kind, ask)
        return found

    def ask(self, did: str, subject: object, verb: str, *what: Any, **words: Any) -> dict[str, Any]:
        """Ask once and return the answer; ``verb`` and what follows are the dynamic client's.

        Raises:
            CompassError: as ``transport.refused`` and ``transport.unreachable`` say.
        """
        try:
            answer = json.loads(self._believed(did, subject, lambda: self._send(verb, *what, **words)))
        except ApiException as error:
            raise self._failure(did, subject, error) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise unreachable(did, subject, self.server, error) from None
        except ValueError as error:
            raise Lost(did, subject, found=f"an answer that is no JSON ({error})") from None
        if not isinstance(answer, dict):
            raise Lost(did, subject, found="an answer that is no object")
        return answer

    def _send(self, verb: str, *what: Any, **words: Any) -> bytes:
        call = getattr(self._dynamic, verb)
        data: bytes = call(*what, **words, serialize=False, _request_timeout=self._timeout_seconds).data
        return data

    def _believed(self, did: str, subject: object, send: Callable[[], bytes]) -> bytes:
        """Send, and where a server that may just have started says no, send again once it is known to be ready.

        A server of 1.20 that says that it is ready may lack the kinds of definitions for some 100 ms more.

        Raises:
            Transient: it is not ready yet.
        """
        try:
            return send()
        except ApiException as error:
            failure = self._failure(did, subject, error)
            doubtful = error.status == 403 or (isinstance(failure, Absent) and not failure.is_object)
            if not doubtful:
                raise
            if self._is_starting():
                raise Transient(did, subject, found=f"{self.server} is not ready ({failure.found})") from None
        return send()  # it may have become ready only after it had said no

    def _failure(self, did: str, subject: object, error: ApiException) -> CompassError:
        if not error.status:  # the client's own way to say that TLS did not come about
            return unreachable(did, subject, self.server, error)
        return refused(did, subject, error.status, error.body, (error.headers or {}).get("Retry-After"))

    def _is_starting(self) -> bool:
        """Tell whether the API server has not read all rights and kinds yet: until then it refuses what it must not.

        Where nobody may ask whether it is ready, everybody may ask for its versions, once it has read the rights.
        """
        for path in ("/readyz", "/api"):
            try:
                self._send("request", "get", path)
            except ApiException as error:
                if error.status not in (401, 403):
                    return bool(error.status != 404)
            except (urllib3.exceptions.HTTPError, OSError):
                return True
            else:
                return False
        return True


def _configuration(access: Access) -> official.Configuration:
    configuration = official.Configuration()
    configuration.host = access.server
    # Nothing but what the kubeconfig names is contacted: the environment's proxies are not used.
    configuration.proxy = access.proxy_url or None
    configuration.retries = False
    return configuration
