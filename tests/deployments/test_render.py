"""The inventory becomes deployments."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from prefect.flows import load_flow_from_entrypoint

from compass.documents import dump_yaml
from compass.errors import InvalidInput
from compass.site.inventory import Inventory, read_inventory
from deployments.render import HERE, render
from deployments.wanted import FLOWS, wanted_deployments

EXAMPLE = HERE / "inventory.yaml"
ENTRYPOINTS = {verb: flow.entrypoint for verb, flow in FLOWS.items()}


def changed(folder: Path, **changes: object) -> Inventory:
    """Read the example inventory with the first cluster changed."""
    document = yaml.safe_load(EXAMPLE.read_text())
    document["freezes"] = []
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
@pytest.mark.parametrize("verb", FLOWS)
def test_every_entrypoint_loads_from_any_folder_and_takes_the_parameters(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (expected,) = (x for name, x in FLOWS.items() if name == verb)
    flow = load_flow_from_entrypoint(expected.entrypoint)
    assert flow.name == expected.name
    taken = [x for x in wanted_deployments(read_inventory(EXAMPLE), "inventory.yaml") if x.verb == verb]
    assert taken
    for deployment in taken:
        flow.validate_parameters(deployment.parameters)


def test_no_parameter_holds_more_than_paths_names_and_choices(tmp_path: Path) -> None:
    inventory = changed(tmp_path, kubeconfig="/srv/k", context="c", object=None)
    first = yaml.safe_load(render(inventory))["deployments"][0]["parameters"]
    assert first == {
        "bundle": "/srv/compass/bundles/current", "cluster": "example-control", "choices": {},
        "where": {
            "site": "/srv/compass/sites/example", "kubeconfig": "/srv/k", "context": "c", "role": "control",
            "state_dir": "/srv/compass/state",
        },
    }  # fmt: skip


def test_a_cluster_of_cluster_api_is_given_by_the_place_of_its_secret(tmp_path: Path) -> None:
    inventory = changed(tmp_path, object=None, clusterAPI="fleet/edge")
    assert yaml.safe_load(render(inventory))["deployments"][0]["parameters"]["where"] == {
        "site": "/srv/compass/sites/example", "cluster_api": "fleet/edge", "role": "control",
        "state_dir": "/srv/compass/state",
    }  # fmt: skip


def test_only_what_changes_a_cluster_is_told_its_windows() -> None:
    deployments = wanted_deployments(read_inventory(EXAMPLE), "inventory.yaml")
    told = {x.verb for x in deployments if "calendar" in x.parameters}
    assert told == {"upgrade", "remove"}


def test_times_are_still_times_when_prefect_has_read_its_file(tmp_path: Path) -> None:
    """To YAML 1.1, which Prefect reads, 22:30 is a number of base 60, and a date is no text."""
    window = {"rrule": "FREQ=DAILY", "start": "22:30", "duration": "4h", "timezone": "UTC"}
    once = {"start": "2026-01-04T22:00:00", "end": "2026-01-05T02:00:00", "timezone": "UTC"}
    rendered = yaml.safe_load(render(changed(tmp_path, windows=[window, once])))
    calendars = [x["parameters"].get("calendar") for x in rendered["deployments"] if x["name"] == "example-control"]
    assert [window, once] == calendars[1]["windows"][1:]


def test_a_window_that_prefect_cannot_say_is_refused_with_the_cluster(tmp_path: Path) -> None:
    minutes = ",".join(map(str, range(60)))
    often = {"rrule": f"FREQ=DAILY;BYHOUR=2;BYMINUTE={minutes}", "start": "02:00", "duration": "1m"}
    inventory = changed(tmp_path, windows=[{**often, "timezone": "Europe/Berlin"}], atOpening=["upgrade"])
    with pytest.raises(InvalidInput, match=r"read here\.yaml: cluster example-control: schedule window .* 6500"):
        render(inventory, "here.yaml")
