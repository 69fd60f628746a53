"""The servers, the material and the simulated kubelet do what the other tests take for granted."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from rehearsal.pulling import ImageSource, PullFailed
from tests.conftest import MakeControlPlane, MakeRegistry
from tests.material.bundles import component_images
from tests.material.clusters import create, deployment, get, listed
from tests.material.images import ImageSpec, build, runnable
from tests.material.push import at, push
from tests.servers.assets import Assets
from tests.servers.control_plane import ControlPlane
from tests.servers.need import need
from tests.servers.node import RealNode
from tests.servers.process import wait_until
from tests.servers.registry import DockerRegistry, Login
from tests.servers.site import Site, simulated_kubelet

pytestmark = pytest.mark.servers
SPEC = ImageSpec("harbor.caicloud.xyz/servers/thing:v1", [{"bin/thing": b"thing"}])


def pods_of(plane: ControlPlane, namespace: str, app: str) -> list[dict[str, Any]]:
    return [x for x in listed(plane, "v1", "Pod", namespace) if x["metadata"]["labels"].get("app") == app]


def running(plane: ControlPlane, namespace: str, app: str) -> list[dict[str, Any]]:
    pods = pods_of(plane, namespace, app)
    return pods if pods and all(x["status"]["phase"] == "Running" for x in pods) else []


def waiting_reason(plane: ControlPlane, namespace: str, app: str) -> str:
    for pod in pods_of(plane, namespace, app):
        for container in pod["status"].get("containerStatuses", []):
            return str(container["state"].get("waiting", {}).get("reason", ""))
    return ""


@pytest.mark.parametrize("auth", ["token", "certificate"])
def test_kubectl_trusts_the_control_plane_and_is_let_in(control_plane: ControlPlane, auth: str) -> None:
    kubectl = Path(sys.executable).with_name("kubectl")
    words = [str(kubectl), "--kubeconfig", str(control_plane.kubeconfig(auth=auth)), "get", "namespaces", "-o", "name"]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    assert "namespace/kube-system" in done.stdout


def test_the_reader_is_known_and_may_do_nothing(control_plane: ControlPlane) -> None:
    with control_plane.client(control_plane.reader_token) as api:
        assert api.get("/api/v1/namespaces").status_code == httpx.codes.FORBIDDEN
    with control_plane.client("nobody") as api:
        assert api.get("/api/v1/namespaces").status_code == httpx.codes.UNAUTHORIZED


def test_an_api_server_comes_back_with_its_data(make_control_plane: MakeControlPlane) -> None:
    with make_control_plane(controllers=False) as plane, plane.client() as api:
        plane.user("guest", "guest-token")
        about = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept", "namespace": "default"}}
        create(plane, [about])
        plane.stop_api()
        with pytest.raises(httpx.TransportError):
            api.get("/readyz")
        plane.start_api()
        assert get(plane, "v1", "ConfigMap", "default", "kept")
        with plane.client("guest-token") as guest:
            assert guest.get("/api/v1/namespaces").status_code == httpx.codes.FORBIDDEN


def test_a_suspended_api_server_does_not_answer(make_control_plane: MakeControlPlane) -> None:
    with make_control_plane(controllers=False) as plane, plane.client(timeout_seconds=1) as api:
        plane.suspend()
        with pytest.raises(httpx.TimeoutException):
            api.get("/readyz")
        plane.resume()
        assert wait_until("the API server", lambda: api.get("/readyz").is_success)


def test_no_server_outlives_a_killed_test_run(assets: Assets, tmp_path: Path) -> None:
    code = (
        "import time\n"
        "from tests.servers.assets import find\n"
        "from tests.servers.registry import DockerRegistry\n"
        "print(DockerRegistry(find()).port, flush=True)\n"
        "time.sleep(60)\n"
    )
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=env) as run:
        assert run.stdout
        port = int(run.stdout.readline())
        assert httpx.get(f"http://127.0.0.1:{port}/v2/", trust_env=False).is_success
        run.kill()
    with pytest.raises(httpx.TransportError):
        wait_until("the end", lambda: httpx.get(f"http://127.0.0.1:{port}/v2/", trust_env=False).is_error, 5)


def test_the_registry_gives_back_what_was_pushed(registry: DockerRegistry) -> None:
    digest = push(registry, SPEC)
    data, found, _ = registry.manifest("servers/thing", "v1")
    assert (found, registry.tags("servers/thing")) == (digest, ["v1"])
    assert build(SPEC).config_digest.encode() in data
    assert registry.blob("servers/thing", build(SPEC).config_digest) == build(SPEC).config.data
    assert registry.everything()["repositories"]["servers/thing"] == {"v1": digest}


def test_a_registry_with_password_and_private_authority_lets_only_its_user_in(make_registry: MakeRegistry) -> None:
    with make_registry(login=Login("pusher", "p:ss wörd"), tls=True) as registry:
        digest = push(registry, SPEC)
        before = registry.everything()
        registry.stop()
        registry.start()
        assert registry.everything() == before
        assert registry.manifest("servers/thing", "v1")[1] == digest
        with httpx.Client(verify=False, trust_env=False) as stranger:
            assert stranger.get(f"{registry.url}/v2/").status_code == httpx.codes.UNAUTHORIZED
        with pytest.raises(httpx.TransportError), httpx.Client(trust_env=False) as trusting_nobody_new:
            trusting_nobody_new.get(f"{registry.url}/v2/")


def test_a_deployments_pods_run_on_the_simulated_kubelet_with_the_registrys_digest(site: Site) -> None:
    image = at(site.registry, SPEC)
    digest = push(site.registry, SPEC)
    init = [{"name": "first", "image": image}]
    create(site.control, [deployment("default", "runs", image, replicas=2, initContainers=init)])
    pods = wait_until("two running pods", lambda: running(site.control, "default", "runs"))
    assert {x["status"]["containerStatuses"][0]["imageID"] for x in pods} == {
        f"{site.registry.host}/servers/thing@{digest}"
    }

    def available() -> bool:
        found = get(site.control, "apps/v1", "Deployment", "default", "runs") or {"status": {}}
        return bool(found["status"].get("availableReplicas") == 2)

    wait_until("an available deployment", available)


def test_a_missing_image_ends_in_image_pull_back_off(site: Site) -> None:
    image = f"{site.registry.host}/servers/nowhere:v1"
    create(site.control, [deployment("default", "missing", image)])
    wait_until(
        "back-off", lambda: waiting_reason(site.control, "default", "missing") == "ImagePullBackOff", every_seconds=0.05
    )
    messages = [x["message"] for x in listed(site.control, "v1", "Event", "default") if x["reason"] == "Failed"]
    assert any("rpc error: code = NotFound" in x and image in x for x in messages)


def test_an_image_that_arrives_later_is_pulled_after_all(site: Site) -> None:
    spec = ImageSpec("harbor.caicloud.xyz/servers/late:v1", [{"a": b"b"}])
    create(site.control, [deployment("default", "late", at(site.registry, spec))])
    wait_until("back-off", lambda: waiting_reason(site.control, "default", "late"))
    push(site.registry, spec)
    wait_until("a running pod", lambda: running(site.control, "default", "late"))


def test_a_deleted_deployments_pods_go_away(site: Site) -> None:
    push(site.registry, SPEC)
    create(site.control, [deployment("default", "goes", at(site.registry, SPEC))])
    wait_until("a running pod", lambda: running(site.control, "default", "goes"))
    with site.control.client() as api:
        path = "/apis/apps/v1/namespaces/default/deployments/goes?propagationPolicy=Background"
        api.delete(path).raise_for_status()
    wait_until("no pods", lambda: not pods_of(site.control, "default", "goes"))


def test_the_simulated_kubelet_outlives_an_absence_of_the_api_server(
    make_control_plane: MakeControlPlane, registry: DockerRegistry
) -> None:
    push(registry, SPEC)
    with make_control_plane() as plane, simulated_kubelet(plane, registry) as kubelet:
        plane.stop_api()
        wait_until("a failed request", lambda: kubelet.last_error)
        plane.start_api()
        create(plane, [deployment("default", "after", at(registry, SPEC))])
        wait_until("a running pod", lambda: running(plane, "default", "after"), 60)


def test_the_simulated_kubelet_pulls_with_a_password_from_a_registry_of_a_private_authority(
    control_plane: ControlPlane, make_registry: MakeRegistry
) -> None:
    with make_registry(login=Login("puller", "p:ss wörd"), tls=True) as registry:
        push(registry, SPEC)
        create(control_plane, [deployment("default", "private", at(registry, SPEC))])
        with simulated_kubelet(control_plane, registry):
            wait_until("a running pod", lambda: running(control_plane, "default", "private"))


def test_an_image_without_all_its_blobs_is_not_pulled(registry: DockerRegistry) -> None:
    spec = ImageSpec("harbor.caicloud.xyz/servers/torn:v1", [{"torn": b"layer"}])
    push(registry, spec)
    with registry.client() as http:
        layer = build(spec).stored(compressed=True)[0].digest
        http.delete(f"/v2/servers/torn/blobs/{layer}").raise_for_status()
    source = ImageSource({registry.host: registry.url})
    with pytest.raises(PullFailed, match="not found"):
        source.pull(at(registry, spec))


def test_a_stopped_registry_is_an_unknown_error_and_a_strange_one_no_host(make_registry: MakeRegistry) -> None:
    with make_registry() as registry:
        registry.stop()
        source = ImageSource({registry.host: registry.url})
        with pytest.raises(PullFailed, match="code = Unknown"):
            source.pull(at(registry, SPEC))
        with pytest.raises(PullFailed, match="no such host"):
            source.pull("elsewhere.example/x:v1")


def test_a_site_is_populated_and_its_old_components_run(site: Site) -> None:
    clusters = listed(site.control, "resource.caicloud.io/v1beta1", "Cluster")
    assert [x["metadata"]["name"] for x in clusters if x["spec"]["isControlCluster"]] == ["control"]
    assert {x["metadata"]["name"] for x in clusters} == {"control", "user-1", "user-2"}
    releases = listed(site.control, "release.caicloud.io/v1alpha1", "Release")
    assert len(releases) == 22
    for plane in site.users.values():
        old = get(plane, "apps/v1", "Deployment", "kube-system", "am-minion")
        assert old
        assert "kubectl-client-side-apply" in {x["manager"] for x in old["metadata"]["managedFields"]}
        wait_until("the old version", partial(running, plane, "kube-system", "am-minion"))


@pytest.mark.node
def test_a_real_node_runs_a_pod_from_the_registry(real_node: RealNode, registry: DockerRegistry) -> None:
    spec = need(lambda: runnable(SPEC))
    digest = push(registry, spec)
    image = at(registry, spec)
    init = [{"name": "first", "image": image, "command": ["/bin/sh", "-c", "true"]}]
    create(real_node.plane, [deployment("default", "real", image, initContainers=init)])
    (pod,) = wait_until("a running pod", lambda: running(real_node.plane, "default", "real"), 60)
    assert pod["status"]["containerStatuses"][0]["imageID"] == f"{registry.host}/servers/thing@{digest}"


@pytest.mark.node
def test_a_real_node_cannot_run_what_the_registry_lacks(real_node: RealNode, registry: DockerRegistry) -> None:
    create(real_node.plane, [deployment("default", "lacks", f"{registry.host}/servers/nowhere:v1")])
    reasons = {"ErrImagePull", "ImagePullBackOff"}
    wait_until("a failed pull", lambda: waiting_reason(real_node.plane, "default", "lacks") in reasons, 60)


@pytest.mark.parametrize(("ci", "ending"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_what_is_absent_skips_on_a_laptop_and_fails_in_ci(
    monkeypatch: pytest.MonkeyPatch, ci: str, ending: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(ending, match="no-such-server"):
        need(lambda: Assets({}, {})["no-such-server"])


def test_material_is_the_same_every_time() -> None:
    assert [build(x).config_digest for x in component_images()] == [build(x).config_digest for x in component_images()]
