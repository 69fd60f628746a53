"""Step: is everything there that the upgrade will need: rights, versions, a writable registry, space."""

from __future__ import annotations

import re
from collections.abc import Mapping

from compass.cluster import lease, record, rights
from compass.cluster.backup import release_kind
from compass.cluster.client import ClusterClient
from compass.documents import Document
from compass.errors import Refused
from compass.names import ObjectRef
from compass.site import clusters
from compass.steps.images import need_base_loaded, nothing_to_push, some_repository
from compass.steps.render import fit, render
from compass.steps.workplace import Target, Workplace
from compass.store import need_space

OLDEST = (1, 18)  # the first whose server-side apply keeps track of every object


class Findings(Document):
    """What preflight saw, a line each; ``warnings`` do not stop the run."""

    lines: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def preflight_site(place: Workplace, archives: Mapping[str, str]) -> Findings:
    """Check the registry and the space, once for all clusters; ``archives`` are known digests of image archives.

    Whether we may push is tried only where there is something to push: some registries keep a trace of the try.

    Raises:
        Refused: the registry does not let us push, the base of a differential bundle was not loaded, or there is not
            enough space.
        InvalidInput: its certificate is not trusted, or no registry is named.
        Transient: it does not answer.
    """
    size = ready_to_read(place)
    if nothing_to_push(place, archives):
        registry = f"registry {place.registry_place.host} has every image"
    else:
        place.registry.writable(some_repository(place, archives))
        registry = f"registry {place.registry_place.host} takes uploads"
    return Findings(lines=(registry, f"space for {(size >> 20) + 1} MiB of images and the backups"))


def ready_to_read(place: Workplace) -> int:
    """Check that the registry answers and that there is space to read the images; return how many bytes that takes.

    Raises:
        CompassError: as ``preflight_site``.
    """
    place.registry.ping()
    need_base_loaded(place)
    size = sum(place.bundle.files.size(x) for x in place.bundle.image_archives)
    need_space(place.state.root, size, "keep images and backups")
    return size


def preflight_cluster(place: Workplace, target: Target) -> Findings:
    """Check that a cluster answers, is new enough, serves every kind, and lets us do all that we shall.

    Raises:
        Refused: a right is missing, or the cluster is too old.
        InvalidInput: a kind is not served, a template is wrong, or the certificate is not trusted.
        Transient: the cluster does not answer.
    """
    client = place.client(target)
    version = client.version()
    _refuse_old(version, target)
    wanted = [x.ref for x in fit(client, render(place, target))]
    deleted = [y.ref for x in place.bundle.definition.for_role(target.role) for y in x.delete]
    needed = rights.rights_for(client, wanted, rights.APPLY)
    needed |= rights.rights_for(client, [record.REF, lease.REF], rights.APPLY)
    needed |= rights.rights_for(client, deleted, rights.DELETE)
    needed |= _reading(client, wanted, target)
    needed |= _removing(place, client, target)
    if place.job.choices.rollback:
        needed |= rights.rights_for(client, [*wanted, *deleted, *_removed(place, client, target)], rights.PUT_BACK)
    count = rights.need_rights(client, needed)
    warnings: tuple[str, ...] = ()
    if place.unverified(target):
        warnings = (f"cluster {target.name}: its certificate is not checked, no authority is known",)
    return Findings(lines=(f"{client.server} answers, {version}", f"all {count} rights are there"), warnings=warnings)


def _refuse_old(version: str, target: Target) -> None:
    match = re.match(r"v(\d+)\.(\d+)", version)
    if match and (int(match[1]), int(match[2])) < OLDEST:
        raise Refused("upgrade cluster", target.name, found=f"Kubernetes {version}", expected="v1.18 or newer")


def _reading(client: ClusterClient, wanted: list[ObjectRef], target: Target) -> set[rights.Right]:
    spaces = {x.namespace for x in wanted if x.namespace}
    pods = [ObjectRef("v1", kind, space, "") for space in spaces for kind in ("Pod", "Event")]
    pods += [ObjectRef("apps/v1", "ReplicaSet", space, "") for space in spaces]
    needed = rights.rights_for(client, pods, rights.READ_ALL)
    kind = release_kind(client)
    everywhere = [ObjectRef(*kind, "", "")] if kind else []
    if target.role == "control" and client.serves(clusters.API_VERSION, clusters.KIND):
        everywhere.append(ObjectRef(clusters.API_VERSION, clusters.KIND, "", ""))
    return needed | rights.rights_for(client, everywhere, rights.READ_ALL)


def _removing(place: Workplace, client: ClusterClient, target: Target) -> set[rights.Right]:
    return rights.rights_for(client, _removed(place, client, target), rights.DELETE)


def _removed(place: Workplace, client: ClusterClient, target: Target) -> list[ObjectRef]:
    kind = release_kind(client)
    if target.role != "control" or kind is None:
        return []
    return [ObjectRef(*kind, space, x) for space, names in place.bundle.definition.remove.items() for x in names]
