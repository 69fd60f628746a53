"""YAML from outside is plain values or a clear error; YAML of ours reads back as what it was."""

import base64
import json
import math
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import Field

from compass import documents
from compass.documents import Document, dump_yaml, load_all_yaml, load_yaml, parse_document, read_text
from compass.errors import InvalidInput

TRICKY = [
    "", " ", "\t", "~", "null", "Null", "true", "No", "off", "y", "1", "-1", "1.0", "1e3", "1.0e+3", ".5", ".inf",
    ".NaN", "0o7", "017", "0x1f", "0b1", "1_000", "1:30", "12:30:45.5", "2021-01-01", "2021-01-01T00:00:00Z", "=", "<<",
    "-", "- a", "? a", ": a", "a: b", "a #b", "#a", "&a", "*a", "!a", "!!int 1", "%a", "@a", "`a`", "{a}", "[a]",
    "{{ a }}",
    "|", ">", "|\n a", "'", '"', "\\", "\\n", "a ", " a", "a\t", "\ta", "a\n", "\na", "a\n\n", "\n\na\n b\n",
    "a\r\nb", "\r",
    "\x00", "\x07", "\x1b[31m", "\x7f", "\x85", "a\x85b", "\xa0", "\u2028", "a\u2029b", "\ufeff", "a\ufeff", "\ufffd",
    "\U0001f600", "说明: 中文", "---", "...", "--- a", "a\n---\nb", "a\n...\nb", "x" * 5000,
    "x y " * 3000, "word\n" * 50,
]  # fmt: skip
texts = st.one_of(st.sampled_from(TRICKY), st.text(st.characters(exclude_categories=["Cs"])))
numbers = st.one_of(st.integers(-(2**63), 2**64), st.floats(allow_nan=False, allow_infinity=False))
scalars = st.one_of(texts, st.none(), st.booleans(), numbers)
values = st.recursive(
    scalars, lambda x: st.one_of(st.lists(x, max_size=4), st.dictionaries(texts, x, max_size=4)), max_leaves=12
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(texts, values, max_size=4), st.booleans())
@example({x: x for x in TRICKY}, False)
@example({"list": TRICKY}, True)
def test_what_an_api_returns_reads_back_identical(value: dict[str, object], sort_keys: bool) -> None:
    back = load_yaml(dump_yaml(value, sort_keys=sort_keys), "it")
    assert back == value
    assert json.dumps(back, sort_keys=True) == json.dumps(value, sort_keys=True), "types too: 1 is neither 1.0 nor True"
    assert load_yaml(dump_yaml(value, sort_keys=sort_keys).encode(), "it") == value


def test_keys_keep_their_order_unless_sorted() -> None:
    assert dump_yaml({"b": 1, "a": 2}) == "b: 1\na: 2\n"
    assert dump_yaml({"b": 1, "a": 2}, sort_keys=True) == "a: 2\nb: 1\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2021-01-01", "2021-01-01"),
        ("2021-01-01T00:00:00Z", "2021-01-01T00:00:00Z"),
        ("1:30", "1:30"),
        ("190:20:30.15", "190:20:30.15"),
        ("=", "="),
        ("10", 10),
        ("1.5", 1.5),
        ("yes", True),
        ("~", None),
        ("0x1f", 31),
        ("1e3", "1e3"),
        (".inf", math.inf),
    ],
)
def test_plain_scalars_are_read_as_kubernetes_reads_them(text: str, value: object) -> None:
    assert load_yaml(f"a: {text}", "it") == {"a": value}


def test_a_key_given_twice_is_refused_with_its_place() -> None:
    with pytest.raises(InvalidInput, match=r"read file: line 3, column 1: key 'a' given twice"):
        load_yaml("a: 1\nb: 2\na: 3\n", "file")
    with pytest.raises(InvalidInput, match=r"line 3, column 4: key 'x' given twice"):
        load_yaml("l:\n-  x: 1\n   x: 2\n", "file")


def test_merge_keys_work_and_may_be_overridden() -> None:
    text = "b: &b {k: 0, j: 2}\nx: {y: &a {<<: *b, k: 1}}\nz: {<<: *a}\nl: {<<: [*a, *b]}"
    assert load_yaml(text, "it") == {
        "b": {"k": 0, "j": 2},
        "x": {"y": {"k": 1, "j": 2}},
        "z": {"k": 1, "j": 2},
        "l": {"k": 1, "j": 2},
    }


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{y}: &{y} [{','.join([f'*{x}'] * 10)}]\n" for x, y in zip("abcdefgh", "bcdefghi", strict=True)),
        "&a [*a]",
        "&a {b: *a}",
        "a0: &a0 {k0: v, k1: v}\n"
        + "".join(f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)),
        "[" * 100_000,
        "- " * 100_000,
        "{a: " * 100_000,
    ],
    ids=["aliases", "a list in itself", "a mapping in itself", "merges", "flow lists", "lists", "mappings"],
)
def test_a_small_text_that_would_fill_the_memory_is_refused_at_once(text: str) -> None:
    began = time.process_time()
    with pytest.raises(InvalidInput, match=r"read bomb: .*(without end|levels deep)"):
        load_yaml(text, "bomb")
    assert time.process_time() - began < 5


def test_what_kubernetes_nests_is_not_too_deep() -> None:
    value: object = "x"
    for _ in range(90):
        value = {"a": [value]}
    assert load_yaml(dump_yaml(value), "it") == value


def test_a_text_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_BYTES", 10)
    assert load_yaml("a: 345678", "it") == {"a": 345678}
    with pytest.raises(InvalidInput, match="read it: 11 bytes, expected at most 10"):
        load_yaml("a: 34567890", "it")


@pytest.mark.parametrize(
    "text", ["a: [", "a: b: c", "\t- a", "a: \x00", b"\xff\xfe\xff", b"a: \xff", "? [a]\n: b", "{[a]: b}"]
)
def test_what_is_no_yaml_is_refused_with_its_name(text: str | bytes) -> None:
    with pytest.raises(InvalidInput, match=r"^read the file: .*expected YAML$"):
        load_yaml(text, "the file")


@pytest.mark.parametrize(
    "text",
    ["!!set {a, b}", "!!binary aGk=", "!!timestamp 2021-01-01", "!!python/name:os.system", "!x y", "!!omap [a: b]"],
)
def test_what_json_has_no_word_for_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="an unknown tag"):
        load_yaml(f"a: {text}", "it")


@pytest.mark.parametrize(
    "text",
    [
        "*hunter2",
        "!hunter2",
        "!!int hunter2",
        "!!float hunter2",
        "!hunter2 x",
        "@hunter2",
        "'hunter2",
        "%hunter2",
        "[hunter2",
        "!!binary hunter2",
    ],
)
def test_an_unquoted_password_is_not_in_the_error(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_yaml(f"password: {text}", "kubeconfig")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__, "a traceback would show the parser's own words"


def test_empty_documents_are_left_out_and_one_is_expected() -> None:
    assert load_all_yaml("---\n---\na: 1\n---\n# none\n---\nb\n", "it") == [{"a": 1}, "b"]
    assert load_yaml("# nothing\n", "it") is None
    with pytest.raises(InvalidInput, match="read it: 2 YAML documents, expected one"):
        load_yaml("a\n---\nb", "it")


class Inner(Document):
    number: int


class Outer(Document):
    name: str
    inner: tuple[Inner, ...] = ()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"name": "a", "nmae": "b"}, "nmae: unknown key"),
        ({"name": "a", "inner": [{"number": 1}, {"number": 1, "x": 2}]}, "inner.1.x: unknown key"),
        ({"name": "a", "inner": [{"number": "x"}]}, "inner.0.number: input should be a valid integer"),
        ({}, "name: field required"),
        ({"name": 1, "x": 2, "y": 3}, "(and 2 more)"),
        (None, "nothing, expected a mapping"),
        (["a"], "a list, expected a mapping"),
    ],
)
def test_the_first_wrong_place_of_a_document_is_named(value: object, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_document(Outer, value, "file.yaml")
    assert str(caught.value).startswith("read file.yaml: ")
    assert said in str(caught.value)


class Full(Document):
    inner: tuple[Inner, ...] = Field(min_length=1)


@pytest.mark.parametrize(
    ("inner", "said"),
    [
        ([{"number": 1, "x": 2}], "read it: inner.0.x: unknown key; see docs/formats.md"),
        ([], "read it: inner: tuple should have at least 1 item after validation, not 0; see docs/formats.md"),
    ],
)
def test_one_mistake_in_a_list_counts_once(inner: list[object], said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_document(Full, {"inner": inner}, "it")
    assert str(caught.value) == said


def test_a_value_that_does_not_fit_is_not_shown() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_document(Inner, {"number": "hunter2"}, "it")
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_no_text_or_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(base64.b64decode("//79"))
    with pytest.raises(InvalidInput, match=r"read site file .*/b: bytes that are no UTF-8 text"):
        read_text(tmp_path / "b", "site file")
    with pytest.raises(InvalidInput, match=r"read site file .*/c: No such file"):
        read_text(tmp_path / "c", "site file")
    with pytest.raises(InvalidInput, match="Is a directory"):
        read_text(tmp_path, "site file")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_BYTES", 3)
    (tmp_path / "b").write_text("four")
    with pytest.raises(InvalidInput, match="too large, expected at most 3 bytes"):
        read_text(tmp_path / "b", "it")
