"""The private names of Hydra that are used: a release that moves one fails here first, by its name."""

from __future__ import annotations

import ast
import copy
from importlib import import_module
from pathlib import Path

import pytest
from hydra import compose
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser

from biotune.cli.launch import hydra_internals
from biotune.cli.launch.compose import composing
from biotune.errors import ConfigError

PACKAGE = Path(hydra_internals.__file__).parents[2]


def private_imports(path: Path) -> list[tuple[str, str]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and "hydra._" in (node.module or "")]
    return [(str(node.module), alias.name) for node in found for alias in node.names]


NAMES = private_imports(Path(hydra_internals.__file__))


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_a_private_name_is_where_it_is_looked_for(module: str, name: str) -> None:
    assert callable(getattr(import_module(module), name))


def test_no_other_file_uses_a_private_name_of_hydras() -> None:
    assert len(NAMES) == 5
    assert [path for path in PACKAGE.rglob("*.py") if private_imports(path)] == [Path(hydra_internals.__file__)]


def test_the_last_of_several_swept_keys_changes_fastest() -> None:
    overrides = OverridesParser.create().parse_overrides(["a=1,2", "b=x", "c=3,4"])
    assert hydra_internals.jobs_of(overrides) == [
        ["a=1", "b=x", "c=3"],
        ["a=1", "b=x", "c=4"],
        ["a=2", "b=x", "c=3"],
        ["a=2", "b=x", "c=4"],
    ]


def test_hydras_flags_are_parsed_and_an_unknown_value_is_our_error() -> None:
    options = hydra_internals.parser_of("run").parse_args(["--cfg", "job", "-m", "seed=1"])
    assert (options.cfg, options.multirun, options.overrides) == ("job", True, ["seed=1"])
    with pytest.raises(ConfigError, match="invalid choice: 'frob'.*'biotune run --help' shows what can be set"):
        hydra_internals.parser_of("run").parse_args(["--cfg", "frob"])


def test_composing_copies_no_schema_but_its_own_and_changes_none() -> None:
    with composing(None):
        store = ConfigStore.instance()
        assert copy.deepcopy(store).repo is store.repo
        first = compose("run", overrides=["training.epochs=7"])
        first.training.lr = 5.0
        first.dataset.name = "another"
        again = compose("run")
        assert (again.training.epochs, again.training.lr, again.dataset.name) == (30, 0.001, "digits")
        assert store.repo["run_schema.yaml"].node.training.epochs == again.training.epochs
