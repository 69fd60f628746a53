"""Lists: selectors, pages, tables; and watches."""

from __future__ import annotations

import json
import threading

import pytest

from tests.rehearsal.contract.cluster import Json, Space, config_map, said


@pytest.fixture
def five(space: Space) -> Space:
    for n in range(5):
        space.post("configmaps", config_map(f"c{n}", labels={"n": str(n), "odd": str(n % 2), "ours": "yes"}))
    return space


def names(items: list[Json]) -> list[str]:
    return [x["metadata"]["name"] for x in items]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("odd=1", ["c1", "c3"]),
        ("odd==1,n!=1", ["c3"]),
        ("n in (0,4)", ["c0", "c4"]),
        ("n notin (0,1,2),ours", ["c3", "c4"]),
        ("!ours", ["kube-root-ca.crt"]),
        ("nothing", []),
    ],
)
def test_labels_select(five: Space, selector: str, expected: list[str]) -> None:
    assert names(five.items("configmaps", labelSelector=selector)) == expected


def test_fields_select(five: Space) -> None:
    assert names(five.items("configmaps", fieldSelector="metadata.name=c3")) == ["c3"]
    listed = five.api.get("/api/v1/configmaps", params={"fieldSelector": f"metadata.namespace={five.namespace}"}).json()
    assert len(listed["items"]) == 6
    event = {
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "type": "Warning", "message": "m",
        "involvedObject": {"kind": "Pod", "namespace": five.namespace, "name": "x", "uid": "u1"},
    }  # fmt: skip
    five.post("events", event)
    assert names(five.items("events", fieldSelector="involvedObject.uid=u1,type=Warning")) == ["e"]
    assert names(five.items("events", fieldSelector="involvedObject.uid=u1,type=Normal")) == []
    wrong = five.get("configmaps", fieldSelector="data.a=1")
    assert said(wrong) == (
        400, "BadRequest",
        '"data.a" is not a known field selector: only "metadata.name", "metadata.namespace"',
    )  # fmt: skip
    assert said(five.get("pods", fieldSelector="data.a=1"))[2] == "field label not supported: data.a"


def test_a_list_says_what_it_is(five: Space) -> None:
    listed = five.get("configmaps").json()
    assert (listed["kind"], listed["apiVersion"]) == ("ConfigMapList", "v1")
    assert set(listed["metadata"]) == {"resourceVersion"}
    assert "kind" not in listed["items"][0]


def test_pages_are_one_list(five: Space) -> None:
    first = five.get("configmaps", limit="2", fieldSelector="metadata.namespace=" + five.namespace)
    assert "remainingItemCount" not in first.json()["metadata"]
    found: list[str] = []
    token, remaining = "", []
    while True:
        page = five.get("configmaps", limit="2", **{"continue": token}).json()
        found += names(page["items"])
        remaining.append(page["metadata"].get("remainingItemCount"))
        token = page["metadata"].get("continue", "")
        # What comes between two pages is not in the list.
        five.post("configmaps", config_map("zzz"))
        if not token:
            break
    assert found == ["c0", "c1", "c2", "c3", "c4", "kube-root-ca.crt"]
    assert remaining == [4, 2, None]


def test_a_token_must_be_one(five: Space) -> None:
    code, reason, message = said(five.get("configmaps", limit="2", **{"continue": "nonsense"}))
    assert (code, reason) == (400, "BadRequest")
    assert message.startswith("invalid continue token: continue key is not valid")


def test_a_table_for_people(five: Space) -> None:
    five.post("configmaps", config_map("c0"))
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
    table = five.api.get(five.path("configmaps"), headers=accept).json()
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert [x["name"] for x in table["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert [x["cells"][:2] for x in table["rows"]][:2] == [["c0", 1], ["c1", 1]]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"


class Watching:
    """A watch in the background; what it sees is in ``events``."""

    def __init__(self, space: Space, plural: str, **query: str) -> None:
        self.events: list[tuple[str, str]] = []
        self.objects: list[Json] = []
        self._space, self._path = space, space.path(plural)
        self._query = {"watch": "1", "timeoutSeconds": "2", **query}
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self) -> None:
        with self._space.cluster.client() as api, api.stream("GET", self._path, params=self._query) as answer:
            self._ready.set()
            for line in answer.iter_lines():
                event = json.loads(line)
                self.objects.append(event["object"])
                self.events.append((event["type"], event["object"].get("metadata", {}).get("name", "")))

    def end(self) -> list[tuple[str, str]]:
        self._thread.join(15)
        return self.events


def version(space: Space) -> str:
    return str(space.get("configmaps").json()["metadata"]["resourceVersion"])


def test_a_watch_tells_what_happens(space: Space) -> None:
    watching = Watching(space, "configmaps", resourceVersion=version(space))
    space.post("configmaps", config_map("c"))
    space.patch("configmaps", "c", {"data": {"b": "2"}})
    space.patch("configmaps", "c", {"data": {"b": "2"}})
    space.delete("configmaps", "c")
    assert watching.end() == [("ADDED", "c"), ("MODIFIED", "c"), ("DELETED", "c")]
    assert watching.objects[0]["kind"] == "ConfigMap"
    versions = [int(x["metadata"]["resourceVersion"]) for x in watching.objects]
    assert versions == sorted(set(versions))


def test_a_watch_from_the_past_catches_up(space: Space) -> None:
    past = version(space)
    space.post("configmaps", config_map("c"))
    space.delete("configmaps", "c")
    watching = Watching(space, "configmaps", resourceVersion=past, timeoutSeconds="1")
    assert watching.end() == [("ADDED", "c"), ("DELETED", "c")]


def test_a_watch_from_nowhere_begins_with_what_is_there(space: Space) -> None:
    space.post("configmaps", config_map("c"))
    assert sorted(Watching(space, "configmaps", timeoutSeconds="1").end()) == [
        ("ADDED", "c"), ("ADDED", "kube-root-ca.crt"),
    ]  # fmt: skip


def test_a_selected_watch_sees_things_come_and_go(space: Space) -> None:
    watching = Watching(space, "configmaps", resourceVersion=version(space), labelSelector="x=y")
    space.post("configmaps", config_map("c"))
    space.patch("configmaps", "c", {"metadata": {"labels": {"x": "y"}}})
    space.patch("configmaps", "c", {"metadata": {"labels": {"x": "z"}}})
    assert watching.end() == [("ADDED", "c"), ("DELETED", "c")]
