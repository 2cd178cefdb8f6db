"""Keys that are typed but that the command has no use for are refused, a line each, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EVALUATE = ("evaluate", "genotypes=genotypes.csv")


@pytest.fixture
def here(here: Path) -> Path:
    """A working folder with genotypes of the bundled network."""
    (here / "genotypes.csv").write_text("stem,layer1,layer2,layer3,layer4,head,threshold\n0,0,0,0,0,0.9,0.2\n")
    return here


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (
            [*EVALUATE, "evolution.generations=3"],
            ["evolution.generations=3: 'biotune evaluate' makes no search and does not use it; leave it out."],
        ),
        (
            [*EVALUATE, "seed=1", "training.lr_grid=[0.1]", "evolution.folds=2"],
            [
                "seed=1: 'biotune evaluate' makes no search and does not use it; leave it out.",
                "training.lr_grid=[0.1]: 'biotune evaluate' takes training.lr as it is and does not use it; leave it out.",
            ],
        ),
        (["train", "seed=1"], ["seed=1: 'biotune train' makes no search and does not use it; leave it out."]),
        (
            ["train", "training.lr_grid=[0.1]"],
            [
                "training.lr_grid=[0.1]: 'biotune train' tries no learning rates unless training.lr=auto and does not use it; "
                "leave it out."
            ],
        ),
        (
            ["train", "-m", "training.seeds=[1]", "strategy=full,lp_ft"],
            [
                "training.seeds=[1]: 'biotune train' trains with test.seeds unless it has something to choose "
                "(training.lr=auto or strategy=surgical) and does not use it; leave it out."
            ],
        ),
        (
            ["suggest", "training.epochs=3", "suggest.max_seconds=0"],
            [
                "training.epochs=3: 'biotune suggest' trains nothing with suggest.max_seconds=0 and does not use it; leave it "
                "out."
            ],
        ),
        (
            ["blocks", "backbone.weights=none", "backbone.head=keep"],
            [
                "backbone.weights=none: 'biotune blocks' counts parameters without loading any and does not use it; leave it "
                "out.",
                "backbone.head=keep: 'biotune blocks' counts parameters without loading any and does not use it; leave it out.",
            ],
        ),
    ],
)
def test_a_key_without_a_use_is_refused_in_a_line(
    biotune: Callable[..., Any], here: Path, arguments: list[str], lines: list[str]
) -> None:
    said = biotune(*arguments)
    assert (said.status, said.out) == (2, "")
    assert said.err.splitlines() == [f"biotune: {line}" for line in lines]
    assert [path.name for path in here.iterdir()] == ["genotypes.csv"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "training.lr=auto", "training.lr_grid=[0.1]", "training.seeds=[1]"],
        ["train", "strategy=surgical", "training.seeds=[1]"],
        ["train", "-m", "strategy=full,surgical", "training.seeds=[1]"],  # the second job has a use for it
        ["train", "training=sgd"],
        [*EVALUATE, "evolution=random", "evolution.folds=2", "evolution.resplit=false", "training.seeds=[1]"],
        ["compare", "experiment=smoke", "seed=1"],
        ["blocks", "backbone=resnet18", "backbone.granularity=layer", "num_classes=2"],
    ],
    ids=" ".join,
)
def test_keys_with_a_use_and_choices_of_groups_pass(here: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from biotune.cli.launch import precheck

    inputs: list[Any] = []
    monkeypatch.setattr(precheck, "_check_inputs", lambda configs, *rest: inputs.extend(configs))  # it decodes all images
    precheck.precheck(arguments[0], arguments[1:])
    assert bool(inputs) == (arguments[0] != "blocks")


def test_a_run_is_not_resumed_with_a_key_that_it_has_no_use_for(
    biotune: Callable[..., Any], here: Path, snapshot: Callable[[Path], Any]
) -> None:
    (here / "out/.hydra").mkdir(parents=True)
    (here / "out/.hydra/config.yaml").write_text(biotune(*EVALUATE, "--cfg", "job").out)
    before = snapshot(here)
    said = biotune("resume", "out", "evolution.generations=3")
    assert said.status == 2
    assert said.err == (
        "biotune: evolution.generations=3: 'biotune evaluate' makes no search and does not use it; leave it out.\n"
    )
    assert snapshot(here) == before
