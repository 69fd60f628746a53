"""A workplace finds bundle, site and clusters, as far as that needs no server."""

from pathlib import Path

import pytest

from compass.errors import CompassError, InvalidInput, Refused, StepFailed, Transient
from compass.steps.clusters import shared_error
from compass.steps.record import who
from compass.steps.workplace import Target
from tests.compass.steps.places import CONTROL, USER, kubeconfig, workplace
from tests.material.bundles import legacy_bundle, site_folder

OTHER = Target(name="user2", role="user")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return legacy_bundle(tmp_path / "site0" / "package" / "bundle", images=[]).folder


def test_the_site_is_where_the_old_scripts_looked_unless_it_is_named(tmp_path: Path, folder: Path) -> None:
    site_folder(tmp_path / "site0", registry="10.9.9.9:5000")
    assert workplace(folder, tmp_path, {"site": None}).registry_place.host == "10.9.9.9:5000"
    assert workplace(folder, tmp_path).registry_place.host == "10.0.0.9:5000"


def test_a_role_makes_the_kubeconfigs_cluster_the_only_one(tmp_path: Path, folder: Path) -> None:
    config = str(kubeconfig(tmp_path / "config", name="admin@my site/1"))
    (found,) = workplace(folder, tmp_path, {"kubeconfig": config, "role": "user"}).targets
    assert found == Target(name="admin@my-site-1", role="user", endpoint="10.0.0.1")
    (found,) = workplace(folder, tmp_path, {"kubeconfig": config, "role": "control", "clusters": ("mine",)}).targets
    assert found == Target(name="mine", role="control", endpoint="10.0.0.1", control_endpoint="10.0.0.1")
    with pytest.raises(InvalidInput, match="find clusters a, b: a kubeconfig of one cluster, expected one name"):
        _ = workplace(folder, tmp_path, {"kubeconfig": config, "role": "user", "clusters": ("a", "b")}).targets


@pytest.mark.parametrize("name", ["../..", "...", "/", ""])
def test_the_name_of_a_context_leads_nowhere_on_disk(tmp_path: Path, folder: Path, name: str) -> None:
    config = str(kubeconfig(tmp_path / "config", name=name or "x"))
    (found,) = workplace(folder, tmp_path, {"kubeconfig": config, "role": "user"}).targets
    assert found.name in ("cluster", "x", "-")
    assert "/" not in found.name
    assert found.name not in (".", "..")


def test_a_target_is_found_by_name(tmp_path: Path, folder: Path) -> None:
    place = workplace(folder, tmp_path, {"kubeconfig": str(kubeconfig(tmp_path / "c", name="one")), "role": "user"})
    assert place.target("one").name == "one"
    with pytest.raises(InvalidInput, match="find cluster two: expected one of: one"):
        place.target("two")


def test_opening_a_workplace_writes_nothing(tmp_path: Path, folder: Path) -> None:
    with workplace(folder, tmp_path) as place:
        assert place.bundle.is_legacy
    assert not (tmp_path / "state").exists()


def test_who_runs_it_is_the_person_behind_sudo() -> None:
    assert who({"SUDO_USER": "alice"}).startswith("alice@")
    assert who({"SUDO_USER": "alice", "COMPASS_BY": "bob"}).startswith("bob@")
    assert who({}).partition("@")[0]


BAD, NO, AWAY, LATER = InvalidInput("x"), StepFailed("x"), Transient("x"), Refused("x")


@pytest.mark.parametrize(
    ("control", "user1", "user2", "stops"),
    [
        ("ok", "ok", "ok", None),
        (AWAY, "ok", "ok", AWAY),
        ("ok", AWAY, "ok", None),
        ("ok", BAD, "ok", None),
        ("ok", BAD, BAD, BAD),
        ("ok", NO, BAD, NO),
        ("ok", AWAY, AWAY, None),
        ("ok", BAD, LATER, None),
        (LATER, BAD, BAD, LATER),
    ],
)
def test_one_clusters_trouble_stays_its_own(
    control: object, user1: object, user2: object, stops: CompassError | None
) -> None:
    assert shared_error([(CONTROL, control), (USER, user1), (OTHER, user2)]) is stops


def test_where_no_cluster_can_go_on_the_run_stops() -> None:
    assert shared_error([(USER, AWAY), (OTHER, LATER)]) is AWAY
    assert shared_error([]) is None
    unreachable = OTHER.model_copy(update={"problem": "no address"})
    assert shared_error([(CONTROL, "ok"), (USER, NO), (unreachable, BAD)]) is NO
