"""A site's settings: what was asked for, else what its folder says."""

from pathlib import Path

import pytest

from compass.errors import InvalidInput
from compass.job import Where
from compass.site.settings import SiteFiles, home_kubeconfig, read_values, registry_place

SECRET = "hunter2-s3cr3t"


@pytest.fixture
def files(tmp_path: Path) -> SiteFiles:
    (tmp_path / ".install-env.sh").write_text(f"CARGO_CFG_DOMAIN=cargo.local:5000\nCARGO_CFG_PASSWORD='{SECRET}'\n")
    return SiteFiles(tmp_path)


def test_the_registry_is_the_one_of_the_environment(files: SiteFiles) -> None:
    place = registry_place(Where(), files)
    assert (place.host, place.scheme, place.username, place.password) == ("cargo.local:5000", "https", "admin", SECRET)
    assert place.ca_file is None
    assert SECRET not in repr(place)


def test_the_users_name_may_be_in_the_environment(files: SiteFiles) -> None:
    with files.environment.open("a") as out:
        out.write("CARGO_CFG_USERNAME=bob\n")
    assert registry_place(Where(), files).username == "bob"


@pytest.mark.parametrize(
    ("text", "host", "scheme"),
    [
        ("a.b:1", "a.b:1", "https"),
        ("http://a.b:1", "a.b:1", "http"),
        ("https://a.b/", "a.b", "https"),
        ("localhost", "localhost", "https"),
    ],
)
def test_the_registry_that_was_asked_for_goes_first(files: SiteFiles, text: str, host: str, scheme: str) -> None:
    place = registry_place(Where(registry=text), files)
    assert (place.host, place.scheme) == (host, scheme)
    assert place.password == SECRET, "its credentials may still be the environment's"


@pytest.mark.parametrize("text", ["ftp://a.b", "a.b/release", "https://", "u:p@a.b", "harbor"])
def test_what_is_no_registry_is_refused(files: SiteFiles, text: str) -> None:
    with pytest.raises(InvalidInput, match="read registry"):
        registry_place(Where(registry=text), files)


def test_without_a_site_a_registry_is_enough(tmp_path: Path) -> None:
    assert registry_place(Where(registry="a.b"), SiteFiles(tmp_path)).password == ""
    with pytest.raises(InvalidInput, match=r"\.install-env\.sh: No such file"):
        registry_place(Where(), SiteFiles(tmp_path))
    with pytest.raises(InvalidInput, match=r"\.install-env\.sh: No such file"):
        registry_place(Where(registry="a.b", site=str(tmp_path)), SiteFiles(tmp_path))


def test_a_ca_is_found_where_it_was_named(files: SiteFiles, tmp_path: Path) -> None:
    with files.environment.open("a") as out:
        out.write("CARGO_CFG_CA_PATH=pki/ca.pem\n")
    assert registry_place(Where(), files).ca_file is None, "it may lie on another machine"
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / "ca.pem").touch()
    (tmp_path / "own.pem").touch()
    assert registry_place(Where(), files).ca_file == tmp_path / "pki" / "ca.pem"
    assert registry_place(Where(registry_ca=str(tmp_path / "own.pem")), files).ca_file == tmp_path / "own.pem"
    with pytest.raises(InvalidInput, match=r"read registry CA .*/none: no such file"):
        registry_place(Where(registry_ca=str(tmp_path / "none")), files)


def test_the_kubeconfig_is_the_one_asked_for_or_the_sites(files: SiteFiles, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no such file; pass --kubeconfig, or --site"):
        home_kubeconfig(Where(), files)
    files.kubeconfig.touch()
    (tmp_path / "own").touch()
    assert home_kubeconfig(Where(), files) == tmp_path / ".kubectl.kubeconfig"
    assert home_kubeconfig(Where(kubeconfig=str(tmp_path / "own")), files) == tmp_path / "own"
    with pytest.raises(InvalidInput, match=r"read kubeconfig .*/none: no such file$"):
        home_kubeconfig(Where(kubeconfig=str(tmp_path / "none")), files)


def test_a_value_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "v").write_text("from file\n")
    assert read_values({"a": f"@{tmp_path}/v", "b": "x@y"}) == {"a": "from file", "b": "x@y"}
    with pytest.raises(InvalidInput, match=r"read --set a .*/none: No such file"):
        read_values({"a": f"@{tmp_path}/none"})
