"""The arrows of the house: who may import whom, read from the sources; and how long a source may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOUSE = ("compass", "tasks", "flows", "deployments", "rehearsal")
MAX_LINES, MAX_FUNCTION_LINES = 330, 60

#: Who may import what of ours; the longest name that fits a module counts.  A name stands for all below it, except
#: ``compass`` itself, which is the version alone.  Rooms that are not named may import nothing of ours.
MAY_IMPORT: dict[str, set[str]] = {
    # values
    "compass": set(),
    "compass.errors": set(),
    "compass.stopping": {"compass.errors"},
    "compass.clock": {"compass.stopping"},
    "compass.progress": set(),
    "compass.together": set(),
    "compass.igzip": set(),
    "compass.inflating": {"compass.igzip"},
    "compass.digests": {"compass.errors"},
    "compass.names": {"compass.digests", "compass.errors"},
    "compass.documents": {"compass.errors"},
    "compass.patience": {"compass.errors", "compass.stopping"},
    # logic: pure, it opens nothing
    "compass.bundle.config": {"compass.errors"},
    "compass.bundle.definition": {"compass.documents", "compass.errors", "compass.names"},
    "compass.bundle.legacy": {
        "compass.bundle.config", "compass.bundle.definition", "compass.documents", "compass.errors",
    },
    "compass.bundle.checksums": {
        "compass.bundle.files", "compass.digests", "compass.errors", "compass.progress", "compass.together",
    },
    "compass.bundle.packed": {
        "compass.bundle.definition", "compass.bundle.legacy", "compass.documents", "compass.errors",
    },
    "compass.bundle.tarball": {"compass.errors"},
    "compass.job": {"compass.bundle.definition", "compass.documents", "compass.window"},
    "compass.window": {"compass.documents", "compass.errors", "compass.window"},
    "compass.site": {
        "compass.bundle.definition", "compass.bundle.legacy", "compass.documents", "compass.errors", "compass.job",
        "compass.names", "compass.site", "compass.window",
    },
    "compass.change": {
        "compass.bundle.definition", "compass.change", "compass.digests", "compass.documents", "compass.errors",
        "compass.names",
    },
    # doors: each to one thing outside
    "compass.processes": {"compass.documents"},
    "compass.store": {"compass.errors"},
    "compass.remote": {"compass.digests", "compass.errors", "compass.store"},
    "compass.bundle.archive": {"compass.digests", "compass.errors"},
    "compass.bundle.files": {"compass.bundle.archive", "compass.errors"},
    "compass.bundle.parts": {
        "compass.bundle.archive", "compass.bundle.checksums", "compass.documents", "compass.errors", "compass.store",
    },
    "compass.bundle.streams": {
        "compass.bundle.archive", "compass.errors", "compass.igzip", "compass.inflating",
    },
    "compass.bundle.signature": {"compass.errors"},
    "compass.bundle.outer": {
        "compass.bundle.legacy", "compass.bundle.tarball", "compass.bundle.unpack", "compass.digests", "compass.errors",
    },
    "compass.bundle.unpack": {
        "compass.bundle.archive", "compass.bundle.files", "compass.bundle.streams", "compass.digests",
        "compass.documents", "compass.errors", "compass.progress", "compass.store",
    },
    "compass.bundle.open": {
        "compass.bundle", "compass.digests", "compass.documents", "compass.errors", "compass.progress",
    },
    "compass.images": {
        "compass.bundle.files", "compass.digests", "compass.documents", "compass.errors", "compass.igzip",
        "compass.images", "compass.inflating", "compass.names", "compass.progress", "compass.store",
        "compass.together",
    },
    "compass.images.archives": {
        "compass.bundle.files", "compass.digests", "compass.documents", "compass.errors", "compass.igzip",
        "compass.images.archives", "compass.images.blocks", "compass.images.compression", "compass.images.deflate",
        "compass.images.layout", "compass.images.manifests", "compass.images.model", "compass.inflating",
        "compass.names", "compass.progress", "compass.store", "compass.together",
    },
    "compass.images.registry": {
        "compass", "compass.clock", "compass.digests", "compass.documents", "compass.errors",
        "compass.images.manifests", "compass.images.model", "compass.images.registry", "compass.names",
        "compass.patience", "compass.store",
    },
    "compass.cluster": {
        "compass.change", "compass.clock", "compass.cluster", "compass.documents", "compass.errors", "compass.names",
        "compass.patience", "compass.processes", "compass.progress", "compass.site.access", "compass.store",
    },
    # logic and doors put together
    "compass.steps": {
        "compass", "compass.bundle", "compass.change", "compass.clock",
        "compass.cluster", "compass.digests", "compass.documents", "compass.errors", "compass.images", "compass.job",
        "compass.names", "compass.progress", "compass.remote", "compass.site", "compass.steps", "compass.stopping",
        "compass.store",
    },
    "compass.report": {
        "compass.clock", "compass.documents", "compass.errors", "compass.steps", "compass.stopping",
    },
    "compass.estimate": {"compass.cluster", "compass.report", "compass.steps", "compass.window"},
    "compass.markdown": {"compass.change", "compass.report", "compass.steps"},
    # the storeys above the core
    "tasks": {"compass", "compass.*", "tasks"},
    "flows": {"compass", "compass.*", "tasks", "flows", "rehearsal"},
    "deployments.watch": {"deployments.wanted", "flows.alive"},
    "deployments": {"compass", "compass.*", "deployments"},  # flows are text to it: the places where workers find them
    "flows.verbs.deploy": {"compass", "compass.*", "flows", "deployments"},
    "rehearsal": {
        "compass.clock", "compass.digests", "compass.documents", "compass.errors", "compass.images.model",
        "compass.names", "compass.progress", "rehearsal",
    },
}  # fmt: skip

#: The only modules of the core that may import these; nobody else in it speaks to anything outside.
DOORS: dict[str, set[str]] = {
    "kubernetes": {"compass.cluster.wire"},
    "urllib3": {"compass.cluster.transport", "compass.cluster.wire"},
    "httpx": {"compass.images.registry.wire"},
    "cryptography": {"compass.bundle.signature"},
    "prefect": set(),
    "requests": set(),
    "aiohttp": set(),
    "websockets": set(),
    "fsspec": {"compass.remote"},
    "socket": {"compass.steps.record"},  # this host's name
    "http": set(),
    "urllib.request": set(),
    "subprocess": set(),
    "multiprocessing": set(),
}

#: What is loaded before a verb does anything: no Prefect, which takes a second to import.
FRONT = (
    "flows.asking", "flows.cli", "flows.options", "flows.packing", "flows.screen", "flows.verbs.load",
    "flows.verbs.pack", "flows.verbs.plan", "flows.verbs.upgrade",
)  # fmt: skip
#: What ``compass-upgrade --help`` has no use for.
LARGE = ("prefect", "tasks", "rehearsal", "kubernetes", "fsspec")


@cache
def sources() -> dict[str, Path]:
    """Return every module of ours with its file."""
    found = {}
    for top in HOUSE:
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(sources()[module].read_text(encoding="utf-8"))


def imported(nodes: Iterator[ast.AST] | list[ast.AST]) -> set[str]:
    """Return the modules that some code imports; ``from a import b`` is ``a.b`` where that is a module of ours."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {x.name for x in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module
            names = {f"{node.module}.{x.name}" for x in node.names}
            inner = names & sources().keys()
            found |= inner
            if names - inner:
                found.add(node.module)
    return found


def imports(module: str) -> set[str]:
    return imported(ast.walk(tree_of(module)))


def first_imports(module: str) -> set[str]:
    """Return what importing the module imports: everything outside of functions."""
    found: list[ast.AST] = []
    todo: list[ast.AST] = list(tree_of(module).body)
    while todo:
        node = todo.pop()
        found.append(node)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            todo.extend(ast.iter_child_nodes(node))
    return imported(found)


def is_ours(name: str) -> bool:
    return name.partition(".")[0] in HOUSE


def covers(rule: str, name: str) -> bool:
    if rule == "compass":
        return name == rule
    rule = rule.removesuffix(".*")
    return name == rule or name.startswith(f"{rule}.")


def room_of(module: str) -> str:
    fitting = [x for x in MAY_IMPORT if module == x or (module.startswith(f"{x}.") and x != "compass")]
    return max(fitting, key=len) if fitting else ""


def is_empty(module: str) -> bool:
    """Tell whether a module holds nothing but its docstring."""
    return all(isinstance(x, ast.Expr) and isinstance(x.value, ast.Constant) for x in tree_of(module).body)


def test_the_sources_are_found() -> None:
    rooms = {"compass.errors", "compass.images.registry.wire", "tasks.step", "flows.cli", "rehearsal.pods"}
    assert rooms <= sources().keys()
    assert "compass.errors" in imports("compass.store")


@pytest.mark.parametrize("module", sorted(sources()))
def test_a_module_imports_only_what_its_room_may(module: str) -> None:
    room = room_of(module)
    assert room or is_empty(module), f"{module} is in no room of MAY_IMPORT"
    allowed = MAY_IMPORT.get(room, set())
    wrong = {x for x in imports(module) if is_ours(x) and not any(covers(rule, x) for rule in allowed)}
    assert not wrong, f"{module} (room {room}) must not import {sorted(wrong)}"


@pytest.mark.parametrize("room", [x for x in MAY_IMPORT if x.startswith("compass.")])
def test_a_room_has_no_permission_that_it_does_not_need(room: str) -> None:
    members = [x for x in sources() if room_of(x) == room]
    assert members, f"there is no room {room}"
    used = {x for module in members for x in imports(module) if is_ours(x)}
    unused = {rule for rule in MAY_IMPORT[room] if not any(covers(rule, x) for x in used)}
    assert not unused - {room}, f"nobody in {room} needs {sorted(unused)}"


@pytest.mark.parametrize("library", DOORS)
def test_only_a_door_of_the_core_speaks_to_what_is_outside(library: str) -> None:
    users = {m for m in sources() if m.startswith("compass") and any(covers(library, x) for x in imports(m))}
    assert users == DOORS[library]


def test_prefect_is_known_to_tasks_flows_and_deployments_only() -> None:
    users = {m.partition(".")[0] for m in sources() if any(covers("prefect", x) for x in imports(m))}
    assert users <= {"tasks", "flows", "deployments"}


def test_what_is_called_task_lies_in_tasks_and_what_is_called_flow_in_flows() -> None:
    for module in sources():
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.ImportFrom) and node.module == "prefect":
                names = {x.name for x in node.names}
                assert "task" not in names or module.startswith("tasks"), module
                assert "flow" not in names or module.startswith("flows"), module


def test_the_rehearsal_is_imported_by_flows_and_tests_only() -> None:
    users = {m.partition(".")[0] for m in sources() if any(covers("rehearsal", x) for x in imports(m))}
    assert users <= {"rehearsal", "flows"}


def test_no_source_imports_a_test() -> None:
    assert not [m for m in sources() if any(covers("tests", x) or covers("pytest", x) for x in imports(m))]


@pytest.mark.parametrize("module", FRONT)
def test_the_front_door_loads_no_prefect_before_it_is_needed(module: str) -> None:
    came_by: dict[str, str] = {module: ""}
    todo = [module]
    while todo:
        here = todo.pop()
        for name in first_imports(here):
            if name not in came_by:
                came_by[name] = here
                if name in sources():
                    todo.append(name)
    wrong = {name: by for name, by in came_by.items() if covers("prefect", name) or covers("tasks", name)}
    assert not wrong, f"{module} leads to {wrong}"


def test_help_is_shown_without_what_is_large() -> None:
    code = "import sys\nfrom flows.cli import main\ntry:\n    main()\nfinally:\n    print(*sys.modules)"
    command = [sys.executable, "-c", code, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    *shown, modules = done.stdout.splitlines()
    assert "upgrade" in "\n".join(shown)
    assert "flows.options" in modules.split()
    assert not [x for x in modules.split() if any(covers(large, x) for large in LARGE)]


@pytest.mark.parametrize("module", sorted(sources()))
def test_a_source_is_short(module: str) -> None:
    lines = len(sources()[module].read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{module} has {lines} lines"
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            length = node.end_lineno - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{module}.{node.name} has {length} lines"


def test_no_module_is_a_grab_bag() -> None:
    bags = {"util", "utils", "common", "helpers", "helper", "misc", "tools", "base", "core", "shared", "stuff"}
    assert not [m for m in sources() if m.rpartition(".")[2] in bags]
