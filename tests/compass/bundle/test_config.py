"""``scripts/config``: two lists of Releases in whatever hand they were written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compass.bundle.config import LegacyConfig, parse_legacy_config
from compass.errors import InvalidInput
from tests.material.templates import CONFIG

names = st.lists(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True), max_size=4)
blank = st.text(" \t", max_size=2)
key_of = {
    "kube-system": st.sampled_from(
        ["KUBE_SYSTEM", "kube-system", "KubeSystem", "REMOVE_KUBE_SYSTEM_LIST", "kubesystem"]
    ),
    "default": st.sampled_from(["DEFAULT", "default", "defalut_components", "DEFAULT_REMOVE_COMPONENTS", "Default"]),
}


def read(text: str) -> LegacyConfig:
    return parse_legacy_config(text, "scripts/config")


@st.composite
def lists(draw: st.DrawFn, namespace: str) -> tuple[str, list[str]]:
    """Draw a line that names Releases, and the Releases."""
    listed = draw(names)
    comma = draw(st.sampled_from([",", ", ", " , ", " ", ",,"]))
    value = comma.join(listed) + draw(st.sampled_from(["", ","]))
    form = draw(st.sampled_from(["'{}'", '"{}"', '"{} "', "({})", "( {} )", "{}"]))
    if form == "({})" and draw(st.booleans()):
        value = " ".join(f'"{x}"' for x in listed)
    comment = draw(st.sampled_from(["", " # say, a,b", '\t# "', " #"]))
    equals = draw(st.sampled_from(["=", " = ", ": ", "="]))
    before = draw(st.sampled_from(["", "export ", "  "]))
    return f"{before}{draw(key_of[namespace])}{equals}{form.format(value)}{comment}{draw(blank)}", listed


@given(lists("kube-system"), lists("default"), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_the_lists_are_found_however_they_are_written(
    system: tuple[str, list[str]], default: tuple[str, list[str]], swap: bool, end: str
) -> None:
    lines = ["# Releases", "", *((default[0], system[0]) if swap else (system[0], default[0])), "  # end", ""]
    config = read(end.join(lines))
    assert config.remove == {"kube-system": tuple(system[1]), "default": tuple(default[1])}
    assert config.others == {}


def test_the_material_is_read() -> None:
    assert read(CONFIG).remove == {"default": ("old-console", "old-gateway"), "kube-system": ("old-exporter",)}


@pytest.mark.parametrize("value", ["", '""', "''", "()", "( )", "  ", "# none", " # none, yet", '"" # none'])
def test_an_empty_list_is_empty_whatever_stands_behind_it(value: str) -> None:
    assert read(f"KUBE_SYSTEM={value}").remove == {"kube-system": ()}


@pytest.mark.parametrize("value", ["'a','b'", '"a","b"', "\"a\",'b'", "a,'b'", "('a' 'b')", '("a" "b") # two'])
def test_every_name_may_have_quotes_of_its_own(value: str) -> None:
    assert read(f"DEFAULT={value}").remove == {"default": ("a", "b")}


def test_other_assignments_are_kept_as_text() -> None:
    assert read("A=1\nb_c = 'x y'\nexport D=\"e#f\"").others == {"A": "1", "b_c": "x y", "D": "e#f"}


@pytest.mark.parametrize("line", ["rm -rf /", "if [ -f x ]; then", "a b=c", "=x", "$(reboot)", "1A=b"])
def test_a_line_that_is_no_assignment_is_refused_with_its_number(line: str) -> None:
    with pytest.raises(InvalidInput, match=r"read scripts/config, line 3: .*expected NAME=a,b"):
        read(f"# c\nA=b\n{line}\n")


@pytest.mark.parametrize("second", ["kube-system=c", "KUBESYSTEM=", "REMOVE_KUBE_SYSTEM=b"])
def test_two_lists_for_one_namespace_are_refused(second: str) -> None:
    with pytest.raises(InvalidInput, match="line 2: a second list for kube-system"):
        read(f"KUBE_SYSTEM=a\n{second}\n")


def test_nothing_in_it_is_executed(tmp_path: object) -> None:
    assert read(f"A=$(touch {tmp_path}/evil)\nDEFAULT=`id`").remove == {"default": ("`id`",)}
