"""The shape of the house: one-way imports, one door each for processes and HTTP, sizes."""

from __future__ import annotations

import ast
import statistics
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "modelforge"
FILES = sorted(PACKAGE.rglob("*.py"))

MODULE_LINES = 450
MEDIAN_LINES = 200
FUNCTION_LINES = 50

# A stage may be imported by what comes after it in the pipeline, never the other way.
ORDER = (
    "profile",
    "hardware",
    "bases",
    "memory",
    "resolve",
    "render",
    "runtimes",
    "smoke",
    "build",
    "pipeline",
    "cli",
)


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(file): file for file in FILES}


@cache
def nodes_of(name: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))))


def dotted(node: ast.AST) -> str:
    """`os.environ` of a name with its attributes, "" of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def dotted_in(name: str) -> set[str]:
    return {dotted(node) for node in nodes_of(name) if isinstance(node, ast.Attribute)}


def called_in(name: str) -> set[str]:
    return {dotted(node.func) for node in nodes_of(name) if isinstance(node, ast.Call)}


@cache
def imports_of(name: str) -> frozenset[str]:
    """All that a module imports anywhere in it, type-checking blocks and functions included."""
    found: set[str] = set()
    for node in nodes_of(name):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                deeper = f"{node.module}.{alias.name}"
                found.add(deeper if deeper in MODULES else node.module)
    return frozenset(found)


def own_imports(name: str) -> set[str]:
    return {module for module in imports_of(name) if module in MODULES and module != name}


def stage_of(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ORDER else None


def test_no_module_takes_part_in_an_import_cycle() -> None:
    seen: dict[str, int] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name in seen:
            return
        for target in sorted(own_imports(name)):
            visit(target, (*path, name))
        seen[name] = 1

    for name in MODULES:
        visit(name, ())


def test_no_stage_imports_a_later_one() -> None:
    later = {
        f"{name} imports {target}"
        for name in MODULES
        for target in own_imports(name)
        if (stage := stage_of(name)) and stage_of(target) in ORDER[ORDER.index(stage) + 1 :]
    }
    assert later == set()


def test_errors_and_units_import_nothing_of_the_project() -> None:
    assert own_imports("modelforge.errors") == set()
    assert own_imports("modelforge.units") == set()


@pytest.mark.parametrize(
    ("library", "door"),
    [
        pytest.param("subprocess", "modelforge.process", id="processes"),
        pytest.param("httpx2", "modelforge.http", id="http"),
        pytest.param("pynvml", "modelforge.hardware.nvidia", id="nvml"),
        pytest.param("huggingface_hub", "modelforge.bases.hub", id="hub"),
        pytest.param("rich", "modelforge.console", id="terminal"),
        pytest.param("docker", "modelforge.runtimes.docker.engine", id="engine"),
    ],
)
def test_one_door(library: str, door: str) -> None:
    users = {name for name in MODULES if library in {target.split(".")[0] for target in imports_of(name)}}
    assert users <= {door}


def test_only_the_console_prints_and_only_the_edge_reads_the_environment() -> None:
    prints = {name for name in MODULES if "print" in called_in(name)}
    assert prints <= {"modelforge.console"}
    inside = [name for name in MODULES if not name.startswith(("modelforge.cli", "modelforge.__main__"))]
    reads = {name: dotted_in(name) & {"os.environ", "sys.argv"} for name in inside}
    asks = {name: called_in(name) & {"os.getenv", "os.getcwd", "Path.cwd", "time.time"} for name in inside}
    assert {name: found for name, found in [*reads.items(), *asks.items()] if found} == {}


def test_sizes() -> None:
    long = {
        f"{name}.{node.name}": node.end_lineno - node.lineno + 1
        for name in MODULES
        for node in nodes_of(name)
        if isinstance(node, ast.FunctionDef) and node.end_lineno is not None
        if node.end_lineno - node.lineno + 1 > FUNCTION_LINES
    }
    assert long == {}
    lines = {name: len(file.read_text(encoding="utf-8").splitlines()) for name, file in MODULES.items()}
    assert {name: count for name, count in lines.items() if count > MODULE_LINES} == {}


def test_the_median_module_is_short() -> None:
    assert (
        statistics.median(len(file.read_text(encoding="utf-8").splitlines()) for file in FILES)
        <= MEDIAN_LINES
    )


def test_no_module_is_a_drawer_for_anything() -> None:
    assert not {name.rpartition(".")[2] for name in MODULES} & {"utils", "util", "common", "helpers", "misc"}
