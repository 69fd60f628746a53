"""The adapter that turns a legacy bundle's files into the model of ``bundle.yaml``.

What the old scripts did is written down in docs/formats.md, section Legacy bundles.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence

from compass.bundle.config import LegacyConfig
from compass.bundle.definition import API_VERSION, Definition
from compass.documents import parse_document
from compass.errors import InvalidInput

CONFIG = "scripts/config"
KUBECONFIG_TEMPLATE = "templates/kubeconfig.j2"
SOURCE_REGISTRY = "harbor.caicloud.xyz"
ADDON_MASTER_PORT = 6009
UNKNOWN_VERSION = "legacy"
_IMAGE_ARCHIVE = re.compile(r"images/[^/]+\.(?:tar|tar\.gz|tgz|tar\.zst)")
_TEMPLATE = re.compile(r"templates/[^/]+\.j2")
_VERSIONS = re.compile(r"compass-upgrade-([0-9][\w.]*?)-([0-9][\w.]*?)(?:\.tar(?:\.gz)?|\.tgz)?")

# What later versions replace on a control cluster; absent objects are skipped.
_CONTROL_DELETIONS = [
    {"apiVersion": "v1", "kind": "Service", "namespace": "default", "name": "am-minion"},
    {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "default", "name": "am-mysql"},
    {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "default", "name": "am-mysql-data"},
    {"apiVersion": "v1", "kind": "Service", "namespace": "kube-system", "name": "am-minion"},
]
_MINION_SERVICE = {"apiVersion": "v1", "kind": "Service", "namespace": "kube-system", "name": "am-minion"}


def looks_legacy(names: Sequence[str]) -> bool:
    """Tell whether a bundle without ``bundle.yaml`` has the seed's layout."""
    return any(_TEMPLATE.fullmatch(x) or _IMAGE_ARCHIVE.fullmatch(x) for x in names)


def image_archives(names: Sequence[str]) -> list[str]:
    """Return the docker-save archives among a bundle's files, sorted."""
    return sorted(x for x in names if _IMAGE_ARCHIVE.fullmatch(x))


def versions_in(name: str) -> tuple[str, str] | None:
    """Return the versions that the outer package's name carries: ``compass-upgrade-2.7.0-2.7.1`` leads from 2.7.0."""
    match = _VERSIONS.fullmatch(name)
    return (match[1], match[2]) if match else None


def legacy_definition(
    names: Sequence[str], config: LegacyConfig, versions: tuple[str, str] | None, where: str
) -> Definition:
    """Return the definition that the seed's layout stands for.

    Raises:
        InvalidInput: there is nothing to upgrade in it.
    """
    if not looks_legacy(names):
        raise InvalidInput(
            "open bundle", where, found="neither bundle.yaml nor images/ and templates/", expected="an upgrade bundle"
        )
    templates = sorted(x for x in names if _TEMPLATE.fullmatch(x) and x != KUBECONFIG_TEMPLATE)
    document = {
        "apiVersion": API_VERSION,
        "kind": "UpgradeBundle",
        # A legacy bundle never refused a version: what it starts from is told, not enforced.
        "metadata": {"name": "compass-component", "to": versions[1] if versions else UNKNOWN_VERSION},
        "sourceRegistry": SOURCE_REGISTRY,
        "variables": {"addon_master_port": {"type": "integer", "default": ADDON_MASTER_PORT}},
        "components": [
            {"name": "control-cleanup", "roles": ["control"], "delete": _CONTROL_DELETIONS},
            *(_component(x) for x in templates),
        ],
        "remove": {namespace: list(releases) for namespace, releases in config.remove.items()},
    }
    return parse_document(Definition, document, where)


def _component(template: str) -> dict[str, object]:
    name = component_name(template)
    component: dict[str, object] = {"name": name, "roles": ["user"], "templates": [template]}
    if name == "am-minion":
        component["delete"] = [_MINION_SERVICE]
        component["dropInitContainers"] = ["check-master"]
    return component


def component_name(template: str) -> str:
    """Return what a template's component is called: ``am_minion_ks_dp.yaml.j2`` gives ``am-minion``."""
    stem = posixpath.basename(template).split(".", 1)[0].lower()
    stem = re.sub(r"(?:_ks)?(?:_(?:dp|ds|sts|deploy|deployment))?$", "", stem) or stem
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-") or "component"


def conclusions(names: Sequence[str], definition: Definition, versions: tuple[str, str] | None) -> list[str]:
    """Say in sentences what the adapter concluded, for ``inspect``."""
    said = ["no bundle.yaml: read as a legacy bundle"]
    if versions:
        said.append(f"versions {versions[0]} to {versions[1]}, from the outer package's name")
    else:
        said.append("version unknown: the name of no outer package is in the path")
    archives = image_archives(names)
    said.append(f"{len(archives)} image archives below images/; {SOURCE_REGISTRY} is replaced by the site registry")
    said.append("templates go to user clusters; check-master is dropped from am-minion there")
    said.append(
        "on the control cluster, what am-minion and am-mysql left is deleted (data only with --allow-data-loss)"
    )
    if KUBECONFIG_TEMPLATE in names:
        said.append(f"kubeconfigs of user clusters are made from {KUBECONFIG_TEMPLATE}")
    if CONFIG not in names:
        said.append(f"no {CONFIG}: nothing to remove")
    elif not any(definition.remove.values()):
        said.append(f"{CONFIG} names no Release to remove")
    return said
