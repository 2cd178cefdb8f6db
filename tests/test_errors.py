"""Tests of the errors that users see."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import pytest

import biotune
from biotune.errors import BiotuneError, did_you_mean, one_line

TRACKERS = ("mlflow", "tensorboard", "wandb")  # libraries that need not be installed, each with modules that are its own


def test_every_error_of_this_package_is_a_biotune_error() -> None:
    """In whatever module it is defined; `__main__` would run the command."""
    modules = []
    for module in pkgutil.walk_packages(biotune.__path__, "biotune."):
        try:
            modules += [] if module.name.endswith("__main__") else [import_module(module.name)]
        except ModuleNotFoundError as error:
            assert error.name in TRACKERS and module.name.startswith("biotune.recipes.trackers.")
    own = {
        item
        for module in modules
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, Exception) and item.__module__.startswith("biotune.")
    }
    assert {"ConfigError", "TrialError", "RunFolderError"} <= {item.__name__ for item in own}
    assert [item for item in own if not issubclass(item, BiotuneError)] == []


@pytest.mark.parametrize(
    ("text", "line"),
    [("one\ntwo", "one two"), ("  a\t b\r\n\n c ", "a b c"), ("", ""), (ValueError("x\n y"), "x y")],
)
def test_several_lines_are_folded_into_one_without_loss(text: object, line: str) -> None:
    assert one_line(text) == line


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("resnet-50", " Did you mean resnet50 or resnet101?"),
        ("RESNET50", " Did you mean resnet50 or resnet101?"),
        ("vgg", " Did you mean vgg19?"),
        ("zzz", ""),
        ("", ""),
    ],
)
def test_near_names_are_suggested_nearest_first_whatever_their_case(name: str, sentence: str) -> None:
    assert did_you_mean(name, ["vgg19", "resnet50", "resnet101"]) == sentence


def test_a_suggestion_keeps_the_spelling_of_the_name() -> None:
    assert did_you_mean("biotune", ["BioTune", "other"]) == " Did you mean BioTune?"
