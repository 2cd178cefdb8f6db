"""The house: which room stands on which floor, and which way imports may go. The code is parsed, never run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "biotune"
FLOORS = {
    "errors": 1,
    "config": 2,
    "schedule": 2,
    "store": 2,
    "trial": 3,
    "strategies": 3,
    "backbones": 3,
    "datasets": 3,
    "evolution": 4,
    "fitness": 4,
    "training": 4,
    "report": 4,
    "executors": 5,
    "__init__": 5,
    "optuna": 5,
    "recipes": 6,
    "cli": 7,
    "__main__": 8,
}
MOST_ROOMS = 19  # scripts/ included, and optuna, which is public: `biotune.optuna` is named for the library that it is for
# on one floor a room may use its neighbour, in one direction: a circle is found by its own test
NO_TORCH = ("evolution", "report", "store", "config", "trial", "errors", "fitness")
ONLY = {"hydra": "cli", "omegaconf": "cli", "deap": "evolution"}
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 400, 60
RUN_LINES = 120


def module_of(path: Path) -> str:
    """`biotune/cli/__init__.py` as `biotune.cli`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in FILES.items()}


def room_of(module: str) -> str:
    """`biotune.cli.launch` as `cli`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def for_types_only(tree: ast.Module) -> set[ast.AST]:
    """What stands below `if TYPE_CHECKING:`; it is never run."""
    blocks = (node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    return {inner for block in blocks for statement in block.body for inner in ast.walk(statement)}


def imports(module: str, at_import: bool = False) -> Iterator[tuple[int, str]]:
    """Line and name of every module that a module imports, in its functions too, but those for types only.

    Args:
        module: Which one.
        at_import: Leave out what functions import when they are called.
    """
    tree = TREES[module]
    skipped = for_types_only(tree)
    nodes = tree.body if at_import else list(ast.walk(tree))
    for node in nodes:
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield node.lineno, full if full in FILES else node.module


def arrows() -> Iterator[tuple[str, int, str]]:
    """Importing module, line and imported module, within the package."""
    for module in FILES:
        for line, target in imports(module):
            if target in FILES and target != module:
                yield module, line, target


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The strongly connected parts of more than one node, by Kosaraju's two passes."""
    order: list[str] = []
    seen: set[str] = set()

    def visit(node: str, edges: dict[str, set[str]], into: list[str]) -> None:
        seen.add(node)
        for other in sorted(edges.get(node, ())):
            if other not in seen:
                visit(other, edges, into)
        into.append(node)

    for node in sorted(graph):
        if node not in seen:
            visit(node, graph, order)
    backwards: dict[str, set[str]] = {}
    for node, others in graph.items():
        for other in others:
            backwards.setdefault(other, set()).add(node)
    seen = set()
    found = []
    for node in reversed(order):
        if node not in seen:
            part: list[str] = []
            visit(node, backwards, part)
            if len(part) > 1:
                found.append(sorted(part))
    return found


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_every_room_has_a_floor_and_there_are_few() -> None:
    rooms = {room_of(module) for module in FILES}
    assert rooms == set(FLOORS)
    assert len(rooms) + 1 <= MOST_ROOMS


def test_no_import_goes_up() -> None:
    up = [
        f"{FILES[module].relative_to(ROOT)}:{line} {room_of(module)} imports {room_of(target)}"
        for module, line, target in arrows()
        if FLOORS[room_of(target)] > FLOORS[room_of(module)] and target != "biotune"
    ]
    assert up == []


def test_rooms_do_not_import_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for module, _, target in arrows():
        if room_of(module) != room_of(target) and target != "biotune":
            graph.setdefault(room_of(module), set()).add(room_of(target))
    assert circles(graph) == []


def test_files_do_not_import_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for module, _, target in arrows():
        graph.setdefault(module, set()).add(target)
    assert circles(graph) == []


def test_nobody_inside_asks_the_public_face_for_more_than_the_version() -> None:
    asked = [
        (module, alias.name)
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "biotune"
        for alias in node.names
        if f"biotune.{alias.name}" not in FILES
    ]
    assert {name for _, name in asked} <= {"__version__"}


@pytest.mark.parametrize("library", ["torch", "torchvision"])
def test_what_decides_and_reports_knows_no_torch(library: str) -> None:
    """Nor does anything that these modules import, as long as they do it when they are imported."""

    def reached(module: str, seen: set[str]) -> Iterator[tuple[str, str]]:
        seen.add(module)
        for _, target in imports(module, at_import=True):
            yield module, target.partition(".")[0]
            if target in FILES and target not in seen:
                yield from reached(target, seen)

    starts = [module for module in FILES if room_of(module) in NO_TORCH] + ["biotune.schedule.schedule", "biotune"]
    assert starts
    assert sorted({where for start in starts for where, top in reached(start, set()) if top == library}) == []
    own = [module for module in FILES if room_of(module) in NO_TORCH]
    assert [(module, line) for module in own for line, target in imports(module) if target.partition(".")[0] == library] == []


@pytest.mark.parametrize("library", ONLY)
def test_a_library_of_one_room_is_known_there_alone(library: str) -> None:
    users = {room_of(module) for module in FILES for _, target in imports(module) if target.partition(".")[0] == library}
    assert users == {ONLY[library]}


def test_private_names_stay_in_their_package() -> None:
    strangers = []
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("biotune"):
                continue
            same = (node.module or "").rpartition(".")[0] == module.rpartition(".")[0]
            private = [alias.name for alias in node.names if alias.name.startswith("_") and not alias.name.startswith("__")]
            if private and not same:
                strangers.append((module, private))
    assert strangers == []


@pytest.mark.parametrize("folder", ["biotune", "scripts", "tests"])
def test_files_are_short(folder: str) -> None:
    longest = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / folder).rglob("*.py")}
    most = MOST_LINES if folder != "tests" else 2 * MOST_LINES
    assert {str(path.relative_to(ROOT)): lines for path, lines in longest.items() if lines > most} == {}


@pytest.mark.parametrize("folder", ["biotune", "scripts"])
def test_functions_are_short(folder: str) -> None:
    long = [
        (str(path.relative_to(ROOT)), node.name)
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or node.lineno) - node.lineno + 1 > MOST_LINES_OF_A_FUNCTION
    ]
    assert long == []


def test_the_file_to_read_first_is_short() -> None:
    assert len(FILES["biotune.recipes.run"].read_text(encoding="utf-8").splitlines()) < RUN_LINES


def test_folders_of_tests_carry_the_rooms_names() -> None:
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}
    rooms = {room_of(module) for module in FILES if "." in module and (PACKAGE / room_of(module)).is_dir()}
    assert folders - rooms == {"archive", "golden", "scripts", "smoke", "support"}
