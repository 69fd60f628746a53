"""The example bundle: the layout of the old scripts, three small images, two templates."""

from __future__ import annotations

from pathlib import Path

from rehearsal.example.images import docker_save, small_image

FROM, TO = "2.7.0", "2.7.1"
FOLDER = f"compass-upgrade-{FROM}-{TO}/comapss-component-upgrade"
IMAGES = {
    "am-minion-v0.0.7": "release/am_minion:v0.0.7",
    "release-controller-v0.2.10": "release/release-controller:v0.2.10",
    "templates-v1.2.14": "release/templates:v1.2.14",
}
PREVIOUS_IMAGES = ("release/am_minion:v0.0.6", "release/release-controller:v0.2.9")

CONFIG = """\
# Releases that the new version no longer has
REMOVE_DEFAULT=old-console
REMOVE_KUBE_SYSTEM=old-exporter
"""
MINION = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: am-minion
  namespace: kube-system
spec:
  replicas: 2
  selector:
    matchLabels: {app: am-minion}
  template:
    metadata:
      labels: {app: am-minion}
    spec:
      initContainers:
      - name: check-master
        image: [[ registry_release ]]/am_minion:v0.0.7
        command: ["/bin/sh", "-c", "wait-for-master"]
      containers:
      - name: am-minion
        image: [[ registry_release ]]/am_minion:v0.0.7
        args: ["--master=[[ addon_master_ip ]]:[[ addon_master_port ]]"]
        ports:
        - containerPort: 6010
"""
CONTROLLER = """\
apiVersion: v1
kind: ServiceAccount
metadata:
  name: release-controller
  namespace: kube-system
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: release-controller
  namespace: kube-system
spec:
  replicas: 1
  selector:
    matchLabels: {app: release-controller}
  template:
    metadata:
      labels: {app: release-controller}
    spec:
      serviceAccountName: release-controller
      containers:
      - name: release-controller
        image: [[ registry_release ]]/release-controller:v0.2.10
        args: ["--templates=[[ registry_release ]]/templates:v1.2.14"]
"""


def write_bundle(site: Path) -> Path:
    """Write the example bundle below a site's folder, where the old scripts expect it, and return its folder."""
    folder = site / FOLDER
    texts = {
        "scripts/config": CONFIG,
        "templates/am_minion_ks_dp.yaml.j2": MINION,
        "templates/release_controller.yaml.j2": CONTROLLER,
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "images").mkdir(exist_ok=True)
    for archive, path in IMAGES.items():
        (folder / "images" / f"{archive}.tar.gz").write_bytes(docker_save(small_image(path)))
    return folder
