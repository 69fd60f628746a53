"""Secrets go where they must and nowhere else: not to the screen, logs, reports, Prefect or the process list."""

from __future__ import annotations

import base64
import stat
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.flows.conftest import PASSWORD
from tests.flows.running import Case
from tests.material.clusters import create, get, listed

pytestmark = [pytest.mark.servers, pytest.mark.prefect, pytest.mark.xdist_group("own-site")]
TOKEN = "marker-of-the-kubeconfig-71d0aa"
USER_TOKEN = "marker-of-the-cluster-object-b3359e"
VALUE = "marker-of-a-value-0c88f2"
OLD_VALUE = "marker-of-the-value-before-55ab17"
IN_TEMPLATE = "marker-in-a-template-9e2d64"
MARKERS = (TOKEN, USER_TOKEN, PASSWORD, VALUE, OLD_VALUE, IN_TEMPLATE)
SECRET = f"""\
apiVersion: v1
kind: Secret
metadata:
  name: am-minion
  namespace: kube-system
stringData:
  password: "[[ pw ]]"
  fixed: {IN_TEMPLATE}
"""


class ProcessList:
    """Everything that the process list shows while the block runs."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._stop = Event()
        self._thread = Thread(target=self._look, daemon=True)

    def __enter__(self) -> ProcessList:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.05):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(path.read_bytes())
                except OSError:
                    continue


def markers_in(data: bytes) -> list[str]:
    """Return the markers that are in some bytes, plain or in base64."""
    found = []
    for marker in MARKERS:
        forms = [marker.encode(), base64.b64encode(marker.encode()), base64.b64encode(f"admin:{marker}".encode())]
        found += [marker for form in forms if form in data]
    return found


def files_of(folder: Path) -> Iterator[Path]:
    return (x for x in folder.rglob("*") if x.is_file() and not x.is_symlink())


@pytest.fixture
def with_secrets(own: Case, bundle: Path) -> Case:
    """The site with a secret wherever one may be."""
    control, user = own.site.control, own.site.users["user-1"]
    control.user("operator", TOKEN, ["system:masters"])
    user.user("operator", USER_TOKEN, ["system:masters"])
    control.kubeconfig(own.files / ".kubectl.kubeconfig", token=TOKEN, name="control")
    auth = {"endpointIP": user.host, "endpointPort": str(user.port), "kubeToken": USER_TOKEN}
    with control.client() as api:
        api.patch(
            "/apis/resource.caicloud.io/v1beta1/clusters/user-1", json={"spec": {"auth": {**auth, "kubeConfig": None}}},
            headers={"Content-Type": "application/merge-patch+json"},
        ).raise_for_status()  # fmt: skip
    before = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "am-minion", "namespace": "kube-system"}}
    create(user, [{**before, "stringData": {"password": OLD_VALUE}}], field_manager="kubectl-create")
    (bundle / "templates" / "secret.yaml.j2").write_text(SECRET)
    return own


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the process list is read from /proc")
def test_no_secret_shows_anywhere_but_in_a_private_backup(with_secrets: Case, bundle: Path, tmp_path: Path) -> None:
    case, user = with_secrets, with_secrets.site.users["user-1"]
    (tmp_path / "pw").write_text(f"{VALUE}\n")
    words = (*case.where(), "--set", f"pw=@{tmp_path / 'pw'}", "--verbose")
    with ProcessList() as processes:
        planned = case.desk.run("plan", bundle, "--allow-data-loss", *words)
        done = case.desk.run("upgrade", bundle, "--yes", "--allow-data-loss", *words)
        checked = case.desk.run("check", bundle, *words)

    assert done.status == 0, done.err
    assert (planned.status, checked.status) == (3, 0)
    assert "data.password: *** -> ***" in planned.out
    live = get(user, "v1", "Secret", "kube-system", "am-minion")
    assert live
    assert base64.b64decode(live["data"]["password"]).decode() == VALUE

    for each in (planned, done, checked):
        assert not markers_in(f"{each.out}{each.err}".encode()), each.words
    assert any(b"compass-upgrade" in x for x in processes.seen)
    assert not [x for x in processes.seen if markers_in(x)]
    assert_only_in_backups(case)
    database = list(case.desk.prefect_home.glob("prefect.db*"))
    assert database
    for path in files_of(case.desk.prefect_home):
        assert not markers_in(path.read_bytes()), path
    for name, plane in case.site.clusters.items():
        for item in listed(plane, "v1", "ConfigMap"):
            assert not markers_in(str(item).encode()), f"{name}: {item['metadata']['name']}"


def assert_only_in_backups(case: Case) -> None:
    """Check that only backups hold secrets, and that nobody else can read anything that is kept."""
    holders = [x for x in files_of(case.desk.state) if markers_in(x.read_bytes())]
    assert {x.relative_to(case.desk.state).parts[0] for x in holders} == {"backups"}, holders
    for path in (case.desk.state, *case.desk.state.rglob("*")):
        assert stat.S_IMODE(path.lstat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert not [x for x in files_of(case.desk.temporary) if markers_in(x.read_bytes())]
    assert stat.S_IMODE(case.desk.prefect_home.stat().st_mode) == 0o700
