"""Step: render the templates for one cluster into the objects that it shall have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from compass.change.manifests import (
    Desired,
    complete,
    container_images,
    drop_init_containers,
    move_images,
    parse_manifests,
    sort_for_apply,
)
from compass.change.templates import Place, TemplateRenderer, refuse_unused, template_values, variable_values
from compass.cluster.client import ClusterClient
from compass.errors import InvalidInput
from compass.site.settings import read_values
from compass.steps.workplace import Target, Workplace


def render(place: Workplace, target: Target) -> list[Desired]:
    """Return the objects that the bundle wants on a cluster, in the order of apply; the cluster is not asked.

    Raises:
        InvalidInput: a variable is missing, a template is wrong, no YAML, or an image name is wrong.
    """
    definition = place.bundle.definition
    variables = variable_values(definition, read_values(place.job.choices.values))
    refuse_unused(place.job.choices.values, _known_names(place))
    here = Place(
        cluster=target.name, role=target.role, registry=place.registry_place.host, endpoint=target.endpoint,
        control_endpoint=target.control_endpoint,
    )  # fmt: skip
    values, renderer = template_values(definition, here, variables), TemplateRenderer()
    wanted: list[Desired] = []
    for component in definition.for_role(target.role):
        for template in component.templates:
            text = renderer.render(place.bundle.text(template), values, f"template {template}")
            for item in parse_manifests(text, component.name, template):
                kept = drop_init_containers(item, component.drop_init_containers)
                kept = move_images(kept, definition.source_registry, here.registry)
                container_images(kept.manifest, f"template {template}, {kept.ref}")
                wanted.append(kept)
    return sort_for_apply(wanted)


def _known_names(place: Workplace) -> set[str]:
    """Return every variable that the definition declares or a template of the bundle asks for."""
    definition, renderer = place.bundle.definition, TemplateRenderer()
    templates = [x for component in definition.components for x in component.templates]
    asked = [renderer.names(place.bundle.text(x), f"template {x}") for x in templates]
    return set(definition.variables).union(*asked)


def fit(client: ClusterClient, wanted: Sequence[Desired]) -> list[Desired]:
    """Return the objects with their namespaces, as the cluster's kinds ask for.

    Raises:
        InvalidInput: the cluster does not serve a kind, or an object is there twice.
    """
    coming = defined_kinds(wanted)
    for item in wanted:
        ref = item.ref
        if (ref.api_version, ref.kind) not in coming and not client.serves(ref.api_version, ref.kind):
            raise InvalidInput(
                "read", f"template {item.source}, {ref}",
                found=f"{client.server} does not serve {ref.api_version} {ref.kind}",
                expected="an API version that the cluster has",
            )  # fmt: skip
    return complete(wanted, scope_of(client, wanted))


def scope_of(client: ClusterClient, wanted: Sequence[Desired]) -> Callable[[str, str], bool]:
    """Return how to tell whether a kind is namespaced: by the definitions to be applied, else by the cluster."""
    coming = defined_kinds(wanted)

    def is_namespaced(api_version: str, kind: str) -> bool:
        known = coming.get((api_version, kind))
        return client.is_namespaced(api_version, kind) if known is None else known

    return is_namespaced


def defined_kinds(wanted: Sequence[Desired]) -> dict[tuple[str, str], bool]:
    """Return the kinds that the objects themselves define, with whether each is namespaced."""
    found: dict[tuple[str, str], bool] = {}
    for item in wanted:
        if item.manifest["kind"] != "CustomResourceDefinition":
            continue
        spec: dict[str, Any] = item.manifest.get("spec") or {}
        kind = (spec.get("names") or {}).get("kind", "")
        for version in [*(spec.get("versions") or []), {"name": spec.get("version")}]:
            found[f"{spec.get('group')}/{version.get('name')}", kind] = spec.get("scope") == "Namespaced"
    return found
