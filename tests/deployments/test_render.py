"""The inventory becomes deployments."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from prefect.flows import load_flow_from_entrypoint

from compass.documents import dump_yaml
from compass.errors import InvalidInput
from compass.site.inventory import Inventory, read_inventory
from deployments.render import ENTRYPOINTS, HERE, render

EXAMPLE = HERE / "inventory.yaml"


def changed(folder: Path, **changes: object) -> Inventory:
    """Read the example inventory with the first cluster changed."""
    document = yaml.safe_load(EXAMPLE.read_text())
    document["sites"][0]["clusters"][0].update(changes)
    path = folder / "inventory.yaml"
    path.write_text(dump_yaml(document))
    return read_inventory(path)


def test_prefect_yaml_is_what_the_inventory_says() -> None:
    written = (HERE.parent / "prefect.yaml").read_text()
    assert written == render(read_inventory(EXAMPLE)), "run `make deployments`"


def test_there_is_one_deployment_per_cluster_and_verb() -> None:
    deployments = yaml.safe_load(render(read_inventory(EXAMPLE)))["deployments"]
    found = {(x["entrypoint"], x["name"]) for x in deployments}
    control = {(x, "example-control") for x in ENTRYPOINTS.values()}
    user = {(x, "example-user-1") for verb, x in ENTRYPOINTS.items() if verb != "remove"}
    assert found == control | user
    assert len(deployments) == len(found)


@pytest.mark.prefect
@pytest.mark.parametrize("entrypoint", ENTRYPOINTS.values())
def test_every_entrypoint_loads_from_any_folder_and_takes_the_parameters(
    entrypoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flow = load_flow_from_entrypoint(entrypoint)
    for deployment in yaml.safe_load(render(read_inventory(EXAMPLE)))["deployments"]:
        if deployment["entrypoint"] == entrypoint:
            flow.validate_parameters(deployment["parameters"])


def test_no_parameter_holds_more_than_paths_names_and_choices(tmp_path: Path) -> None:
    inventory = changed(tmp_path, kubeconfig="/srv/k", context="c")
    first = yaml.safe_load(render(inventory))["deployments"][0]["parameters"]
    assert first["where"] == {
        "site": "/srv/compass/sites/example", "kubeconfig": "/srv/k", "context": "c", "role": "control",
        "state_dir": "/srv/compass/state",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "example-user-1"}, "cluster 'example-user-1' given twice"),
        ({"kubeconfg": "x"}, "sites.0.clusters.0.kubeconfg: unknown key"),
        ({"context": "x"}, "context without kubeconfig"),
        ({"schedules": {"backup": {"rrule": "FREQ=DAILY", "timezone": "Asia/Shanghay"}}}, "unknown time zone"),
        ({"schedules": {"backup": {"rrule": "FREQ=DAYLY", "timezone": "UTC"}}}, "no RRULE"),
        (
            {"schedules": {"backup": {"rrule": "FREQ=DAILY;COUNT=3", "timezone": "UTC"}}},
            "COUNT does not mean in Prefect",
        ),
        ({"schedules": {"backup": {"rrule": "FREQ=DAILY;UNTIL=20270101T000000Z", "timezone": "UTC"}}}, "UNTIL"),
        ({"role": "master"}, "role"),
        ({"labels": {"tier": "{{ $HOME }}"}}, "which Prefect would replace"),
    ],
)
def test_a_wrong_inventory_is_refused_with_the_place(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidInput) as error:
        changed(tmp_path, **changes)
    assert words in str(error.value)
    assert "inventory.yaml" in str(error.value)


def test_a_user_cluster_cannot_be_scheduled_for_removal(tmp_path: Path) -> None:
    schedule = {"remove": {"rrule": "FREQ=DAILY", "timezone": "UTC"}}
    with pytest.raises(InvalidInput, match="control clusters"):
        changed(tmp_path, role="user", schedules=schedule)
