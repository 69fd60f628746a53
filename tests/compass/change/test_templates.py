"""Templates: only ``[[ ]]`` is ours, what is missing is an error, and nothing leads out of the sandbox."""

import time
from typing import Any

import pytest

from compass.bundle.definition import Definition, parse_definition
from compass.change import templates as module
from compass.change.templates import Place, TemplateRenderer, template_values, variable_values
from compass.documents import dump_yaml
from compass.errors import InvalidInput
from tests.material import bundles

PLACE = Place("user1", "user", "10.0.0.1:5000", "10.0.0.2", "10.0.0.3")


def definition(**variables: Any) -> Definition:
    return parse_definition(dump_yaml({**bundles.definition([]), "variables": variables}), "bundle.yaml")


def render(text: str, **values: Any) -> str:
    return TemplateRenderer().render(text, values, "template t")


def refused(text: str, **values: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        render(text, **values)
    assert str(caught.value).startswith("render template t")
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["{{ .Values.x }}", "{% if x %}", "{# note #}", "{% raw %}", "{{- range $x := .y }}{{ end -}}",
     "$(A) ${B} %s [a] [ [x] ]", "a\n\n", "a", "", "  [1,2]", "<b>&amp;'\"", "说明"],
)  # fmt: skip
def test_what_belongs_to_other_tools_passes_untouched(text: str) -> None:
    assert render(text) == text


def test_ours_is_filled_in_and_not_escaped() -> None:
    text = "image: [[ registry_release ]]/a:1\n[% if role == 'user' %]x[% endif %][# note #]\n"
    assert render(text, registry_release="r/release", role="user") == "image: r/release/a:1\nx\n"
    assert render("[[ a ]]", a="<&'\"{{ x }}[[ y ]]") == "<&'\"{{ x }}[[ y ]]"


def test_every_documented_name_is_there() -> None:
    values = template_values(definition(), PLACE, {"own": 1})
    text = (
        "[[ registry ]] [[ registry_release ]] [[ cluster.name ]] [[ cluster.role ]] [[ cluster.endpoint ]] "
        "[[ control.endpoint ]] [[ bundle.name ]] [[ bundle.to ]] [[ addon_master_ip ]] [[ own ]]"
    )
    expected = "10.0.0.1:5000 10.0.0.1:5000/release user1 user 10.0.0.2 10.0.0.3 compass-component 2.7.1 10.0.0.3 1"
    assert TemplateRenderer().render(text, values, "t") == expected


@pytest.mark.parametrize("name", ["cluster.endpoint", "control.endpoint", "addon_master_ip"])
def test_an_unknown_endpoint_is_an_error_where_it_is_used(name: str) -> None:
    values = template_values(definition(), Place("a", "user", "r.x"), {})
    assert render("[[ cluster.name ]]", **values) == "a"
    assert "endpoint" in refused(f"[[ {name} ]]", **values) or name in refused(f"[[ {name} ]]", **values)


def test_a_missing_variable_is_named_with_what_to_pass() -> None:
    assert refused("x: [[ port ]]") == "render template t: 'port' is undefined; pass --set port=VALUE"
    assert "pass --set port=VALUE" in refused("[% if port %]x[% endif %]")
    assert "pass --set ports=VALUE" in refused("[% for x in ports %]x[% endfor %]")
    assert "see docs/formats.md" in refused("[[ a.b ]]", a={})


@pytest.mark.parametrize(("text", "line"), [("a\n[% for %]", 2), ("[[ a", 1), ("\n\n[% end %]", 3), ("[[ 'a ]]", 1)])
def test_wrong_syntax_is_named_with_its_line(text: str, line: int) -> None:
    assert refused(text).startswith(f"render template t, line {line}: ")


ESCAPES = [
    "[[ ''.__class__.__mro__ ]]",
    "[[ ''['__class__'] ]]",
    "[[ ''|attr('__class__') ]]",
    "[[ ''|attr('__cl' ~ 'ass__') ]]",
    "[[ ().__class__.__bases__[0].__subclasses__() ]]",
    "[[ {}.__class__ ]]",
    "[[ x.__class__.__init__.__globals__ ]]",
    "[[ x.keys.__globals__ ]]",
    "[[ '{0.__class__}'.format(x) ]]",
    "[[ '{0[__class__]}'.format(x) ]]",
    "[[ '%s'|format(x.__class__) ]]",
    "[[ cycler.__init__.__globals__.os.popen('id').read() ]]",
    "[[ lipsum.__globals__ ]]",
    "[[ joiner() ]]",
    "[[ namespace() ]]",
    "[[ dict(a=1) ]]",
    "[[ range(3) ]]",
    "[[ self.__init__.__globals__ ]]",
    "[[ x.update({'a': 1}) ]]",
    "[[ x.pop('b') ]]",
    "[[ (x|map(attribute='__class__')|first).mro ]]",
    "[% set y = x.__class__ %][[ y.mro() ]]",
    "[% include '/etc/passwd' %]",
    "[% import 'os' as os %]",
    "[% extends 'x' %]",
    "[% macro f() %][[ f.__globals__ ]][% endmacro %][[ f() ]]",
    "[[ x['__class__'].__name__ ]]",
]  # fmt: skip


@pytest.mark.parametrize("text", ESCAPES)
def test_what_leads_out_of_the_sandbox_is_refused(text: str) -> None:
    x = {"b": "c"}
    refused(text, x=x)
    assert x == {"b": "c"}


@pytest.mark.parametrize(
    "text",
    [
        "[% for i in range(10**9) %]x[% endfor %]",
        "[[ 'a' * 10000000000 ]]",
        "[[ 10000000000 * 'a' ]]",
        "[[ [1] * 10000000000 ]]",
        "[[ 9 ** 9 ** 9 ** 9 ]]",
        "[[ '%10000000000d' % 1 ]]",
        "[% macro f() %][[ f() ]][% endmacro %][[ f() ]]",
        "[% for a in x %][% for b in x %][% for c in x %][[ x ]][% endfor %][% endfor %][% endfor %]",
        "[% for i in x recursive %][[ loop(x) ]][% endfor %]",
    ],
)
def test_a_template_without_end_is_refused_soon(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RENDERED_BYTES", 100_000)
    began = time.process_time()
    refused(text, x="x" * 1000)
    assert time.process_time() - began < 3


def test_what_is_rendered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RENDERED_BYTES", 10)
    assert render("[[ a ]]", a="x" * 10) == "x" * 10
    assert "more text than" in refused("[[ a ]]", a="x" * 11)


@pytest.mark.parametrize(
    "text", ["[[ 1 / 0 ]]", "[[ 'a' + 1 ]]", "[[ 'a'|nothing ]]", "[[ [1]['x']['y'] ]]", "[[ 'x'.encode('none') ]]"]
)
def test_whatever_an_expression_raises_is_wrong_input(text: str) -> None:
    refused(text)


def test_numbers_still_multiply() -> None:
    assert render("[[ 2 * 3 ]] [[ 7 % 4 ]] [[ 1 + 1 ]] [[ 'a' ~ 'b' ]]") == "6 3 2 ab"


def test_a_variable_is_what_was_given_or_its_default() -> None:
    known = definition(port={"type": "integer", "default": 6009}, name={"required": False})
    assert variable_values(known, {}) == {"port": 6009}
    assert variable_values(known, {"port": "1", "name": "n", "own": "o"}) == {"port": 1, "name": "n", "own": "o"}
    assert variable_values(definition(flag={"type": "boolean", "default": False}), {}) == {"flag": False}


def test_a_required_variable_without_value_is_named() -> None:
    with pytest.raises(InvalidInput) as caught:
        variable_values(definition(port={"type": "integer", "description": "of the master"}), {})
    assert str(caught.value) == "find variable port: no value (of the master); pass --set port=VALUE"


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("integer", "-1", -1),
        ("number", "1.5", 1.5),
        ("boolean", "Yes", True),
        ("boolean", "0", False),
        ("string", "1", "1"),
        ("integer", "1.5", None),
        ("integer", "", None),
        ("number", "x", None),
        ("boolean", "maybe", None),
    ],
)
def test_a_given_value_is_read_as_its_type(kind: str, text: str, value: object) -> None:
    known = definition(a={"type": kind})
    if value is None:
        with pytest.raises(InvalidInput, match="read --set a: "):
            variable_values(known, {"a": text})
        return
    found = variable_values(known, {"a": text})["a"]
    assert (found, type(found)) == (value, type(value))
