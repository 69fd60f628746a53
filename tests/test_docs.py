"""The documents hold what they say: links lead somewhere, commands exist, the translation keeps step."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml

from compass.bundle.definition import parse_definition
from compass.documents import parse_document
from compass.site.inventory import Inventory

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
COMMAND = Path(sys.executable).with_name("compass-upgrade")


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.DOTALL)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda x: str(x.relative_to(ROOT)))
def test_every_link_leads_to_a_file_of_the_project(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", path.read_text())
    broken = [x for x in links if "://" not in x and not (path.parent / x).exists()]
    assert broken == []


def test_both_readmes_have_the_same_commands_and_sections() -> None:
    english, chinese = ROOT / "README.md", ROOT / "README.zh-CN.md"
    assert blocks(english, "bash") == blocks(chinese, "bash")
    for pattern in (r"^#+ ", r"^\| `\w+`", r"^- \["):
        counts = [len(re.findall(pattern, x.read_text(), re.MULTILINE)) for x in (english, chinese)]
        assert counts[0] == counts[1], pattern


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set()
    for path in DOCUMENTS:
        for words in re.findall(r"(?:^|`)make ([a-z -]+?)(?:`|\s*(?:#|$))", path.read_text(), re.MULTILINE):
            named |= set(words.split())
    assert named
    assert named <= targets, named - targets


@cache
def help_of(verb: str) -> str:
    """Return what a verb says of itself."""
    return subprocess.run([COMMAND, verb, "--help"], capture_output=True, text=True, check=True).stdout


def test_every_verb_and_option_that_is_named_exists() -> None:
    for path in DOCUMENTS:
        for line in "\n".join(blocks(path, "bash")).splitlines():
            if "compass-upgrade " not in line or line.startswith("cd "):
                continue
            words = line[line.index("compass-upgrade ") :].partition("#")[0].split()
            helped = help_of(words[1])
            for option in (x for x in words if x.startswith("--")):
                assert option in helped, line


def test_the_examples_of_the_formats_are_accepted() -> None:
    bundle, inventory = (x for x in blocks(ROOT / "docs" / "formats.md", "yaml") if x.startswith("apiVersion"))
    definition = parse_definition(bundle.replace("sha256:…", "sha256:" + "0" * 64), "docs/formats.md")
    assert definition.components[0].drop_init_containers == ("check-master",)
    assert (
        parse_document(Inventory, yaml.safe_load(inventory), "docs/formats.md").sites[0].clusters[1].context == "admin"
    )
