"""A real node: containerd, kubelet and scheduler, joined to a control plane, pulling from a real registry.

containerd and the kubelet live in a process and a mount namespace of their own.  When their first process ends the
kernel ends all others in it, containers included, and drops every mount; so nothing stays behind even when the tests
are killed.  Only the network is the machine's, and of it only one bridge without address is used.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from tests.material.images import ImageSpec, runnable
from tests.material.push import at, push
from tests.servers.assets import Assets, Missing, node_possible
from tests.servers.control_plane import ControlPlane
from tests.servers.process import Server, listening, wait_until, with_free_ports
from tests.servers.registry import DockerRegistry

BINARIES = ("kube-scheduler", "kubelet", "containerd", "containerd-shim-runc-v2", "runc", "cni")
COMMANDS = ("unshare", "mount", "ip")
PAUSE = ImageSpec("tests/pause:1", [])
READY_SECONDS = 120
BRIDGE_PREFIX = "cutest"
FOLDER_PREFIX = "compass-node-"
_numbers = itertools.count()


class RealNode:
    """One node of ``plane``; ``with`` stops it and removes what it made.

    Raises:
        Missing: this is not root on Linux, or a program is not here.
    """

    def __init__(self, assets: Assets, plane: ControlPlane, *registries: DockerRegistry, name: str = "node-1") -> None:
        require(assets)
        sweep()
        self.name = name
        self.plane = plane
        self._assets, self._registries = assets, registries
        self._mark = f"{os.getpid()}x{next(_numbers)}"
        self.bridge = f"{BRIDGE_PREFIX}{self._mark}"[:15]
        # Not in the folder of a test: the path of a socket may not be longer than 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{self._mark}-"))
        self._servers: list[Server] = []
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def logs(self) -> Path:
        """The folder of the log files."""
        return self.folder / "logs"

    def close(self) -> None:
        """Stop everything and remove what was made: processes, mounts, bridge, cgroups, files."""
        for server in self._servers:
            server.stop(grace_seconds=0)
        _delete_bridge(self.bridge)
        _clear(self.folder)

    def _start(self) -> None:
        push(self._registries[0], runnable(PAUSE))
        self.logs.mkdir(parents=True)
        self._kubeconfig = self.plane.kubeconfig(self.folder / "kubeconfig")
        self._write("containerd.toml", self._containerd_config())
        self._write("cni/10-bridge.conf", json.dumps(self._network()))
        self._servers.append(with_free_ports(1, self._start_scheduler))
        self._servers.append(with_free_ports(1, self._start_node))
        with self.plane.client() as api:
            wait_until("a ready node", lambda: _is_ready(api.get(f"/api/v1/nodes/{self.name}")), READY_SECONDS)

    def _start_scheduler(self, port: int) -> Server:
        words = [
            self._assets["kube-scheduler"],
            f"--kubeconfig={self._kubeconfig}",
            "--leader-elect=false",
            *self._assets.without_http("kube-scheduler"),
            f"--secure-port={port}",
            "--bind-address=127.0.0.1",
            f"--cert-dir={self.folder / 'scheduler-certs'}",
        ]
        server = Server("kube-scheduler", words, self.logs / "scheduler.log", self._assets.env)
        return server.wait_ready(lambda: listening(port), READY_SECONDS)

    def _start_node(self, port: int) -> Server:
        self._write("kubelet.yaml", yaml.safe_dump(self._kubelet_config(port)))
        self._write("start.sh", self._start_script())
        # The first process of the namespace is the shell: it takes over orphans, and when it dies all die.
        words = ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "sh"]
        server = Server("node", [*words, str(self.folder / "start.sh")], self.logs / "node.log", self._assets.env)
        return server.wait_ready(lambda: listening(port), READY_SECONDS)

    def _start_script(self) -> str:
        socket = self.folder / "containerd.sock"
        containerd = [self._assets["containerd"], "--config", str(self.folder / "containerd.toml")]
        kubelet = [
            self._assets["kubelet"],
            f"--kubeconfig={self._kubeconfig}",
            f"--config={self.folder / 'kubelet.yaml'}",
            f"--root-dir={self.folder / 'kubelet'}",
            f"--cert-dir={self.folder / 'kubelet/pki'}",
            f"--hostname-override={self.name}",
            *(["--container-runtime=remote"] if self._assets.minor("kubelet") < 24 else []),
            f"--container-runtime-endpoint=unix://{socket}",
            f"--volume-plugin-dir={self.folder / 'volume-plugins'}",
        ]
        return "\n".join(
            [
                "set -e",
                # What both write at fixed places goes with the namespace; what lies below /var/lib stays visible.
                "for folder in /run /var/log; do mount -t tmpfs tmpfs $folder; done",
                "mkdir /run/upper /run/work",
                "mount -t overlay overlay -o lowerdir=/var/lib,upperdir=/run/upper,workdir=/run/work /var/lib",
                f"{shlex.join(containerd)} >>{self.logs / 'containerd.log'} 2>&1 &",
                f"until [ -S {socket} ]; do sleep 0.1; done",
                f"{shlex.join(kubelet)} >>{self.logs / 'kubelet.log'} 2>&1",
            ]
        )

    def _containerd_config(self) -> str:
        cri = 'plugins."io.containerd.grpc.v1.cri"'
        lines = [
            "version = 2",
            f"root = {json.dumps(str(self.folder / 'root'))}",
            f"state = {json.dumps(str(self.folder / 'state'))}",
            'disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",'
            ' "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]',
            "[grpc]",
            f"address = {json.dumps(str(self.folder / 'containerd.sock'))}",
            f"[{cri}]",
            f"sandbox_image = {json.dumps(at(self._registries[0], PAUSE))}",
            # Without it runc ends here with "can't get final child's PID from pipe: EOF".
            "restrict_oom_score_adj = true",
            "disable_apparmor = true",
            f"[{cri}.cni]",
            f"bin_dir = {json.dumps(self._assets['cni'])}",
            f"conf_dir = {json.dumps(str(self.folder / 'cni'))}",
            f"[{cri}.containerd.runtimes.runc]",
            'runtime_type = "io.containerd.runc.v2"',
            f"[{cri}.containerd.runtimes.runc.options]",
            f"BinaryName = {json.dumps(self._assets['runc'])}",
        ]
        for registry in self._registries:
            lines += [f'[{cri}.registry.mirrors."{registry.host}"]', f"endpoint = [{json.dumps(registry.url)}]"]
            if registry.tls:
                lines += [f'[{cri}.registry.configs."{registry.host}".tls]', f'ca_file = "{registry.ca_file}"']
            if registry.login:
                lines += [
                    f'[{cri}.registry.configs."{registry.host}".auth]',
                    f"username = {json.dumps(registry.login.user)}",
                    f"password = {json.dumps(registry.login.password)}",
                ]
        return "\n".join(lines) + "\n"

    def _network(self) -> dict[str, Any]:
        subnet = {"type": "host-local", "subnet": "10.88.0.0/16", "dataDir": str(self.folder / "addresses")}
        return {"cniVersion": "0.3.1", "name": "tests", "type": "bridge", "bridge": self.bridge, "ipam": subnet}

    def _kubelet_config(self, port: int) -> dict[str, Any]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": "127.0.0.1",
            "port": port,
            "readOnlyPort": 0,
            "healthzPort": 0,
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "cgroupsPerQOS": False,
            "enforceNodeAllocatable": [],
            "failSwapOn": False,
            "makeIPTablesUtilChains": False,
            "resolvConf": "",
            "nodeStatusUpdateFrequency": "2s",
            "syncFrequency": "2s",
            # A full disk of the machine is not what the tests are about.
            "evictionHard": {"memory.available": "1Mi"},
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
        }

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(text)


def require(assets: Assets) -> None:
    """Return when a real node can be started here.

    Raises:
        Missing: it cannot; the message says why.
    """
    if not node_possible():
        raise Missing("a real node: needs root on Linux")
    lacking = [x for x in BINARIES if x not in assets] + [x for x in COMMANDS if not shutil.which(x)]
    if lacking:
        raise Missing(f"a real node: no {', '.join(lacking)}")


def sweep() -> None:
    """Remove what nodes left whose tests were killed: bridges, cgroups, folders."""
    for bridge in Path("/sys/class/net").glob(f"{BRIDGE_PREFIX}*"):
        if _orphaned(bridge.name.removeprefix(BRIDGE_PREFIX)):
            _delete_bridge(bridge.name)
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        if _orphaned(folder.name.removeprefix(FOLDER_PREFIX)):
            _clear(folder)


def _orphaned(mark: str) -> bool:
    return not Path(f"/proc/{mark.partition('x')[0]}").exists()


def _is_ready(answer: httpx.Response) -> bool:
    if not answer.is_success:
        return False
    node = answer.json()
    conditions = node["status"].get("conditions", [])
    ready = any(x["type"] == "Ready" and x["status"] == "True" for x in conditions)
    # The taint of a new node goes some time after it says that it is ready.
    return ready and not node["spec"].get("taints")


def _delete_bridge(name: str) -> None:
    if (Path("/sys/class/net") / name).exists():
        subprocess.run(["ip", "link", "delete", name], check=False, capture_output=True)


def _clear(folder: Path) -> None:
    """Remove a node's folder and the cgroups of its containers, once the kernel has ended the last process."""
    containers = {x.name for x in folder.glob("state/io.containerd.runtime.v2.task/*/*")}
    root = Path("/sys/fs/cgroup")
    for cgroup in (*root.glob("k8s.io/*"), *root.glob("*/k8s.io/*")):
        if cgroup.name in containers:
            with contextlib.suppress(TimeoutError):
                wait_until("an empty cgroup", functools.partial(_rmdir, cgroup), 5)
            # The parent goes with the last container of all.
            _rmdir(cgroup.parent)
    with contextlib.suppress(TimeoutError):
        wait_until("an empty folder", lambda: _removed(folder), 10)


def _rmdir(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _removed(folder: Path) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()
