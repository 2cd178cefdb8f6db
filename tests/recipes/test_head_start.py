"""Where heads start from, in whole commands: every schedule's where it is set, the search's own where it evolves."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from inspect import signature
from pathlib import Path
from shutil import copytree, ignore_patterns
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml

from biotune.cli import main
from biotune.config.schema import RunConfig
from biotune.errors import SearchError
from biotune.evolution.generation import Generation
from biotune.recipes import search as recipe
from biotune.recipes.final import final_baselines
from biotune.recipes.inputs import started
from biotune.recipes.progress import SILENCE
from biotune.schedule.block import Block
from biotune.schedule.plan import Plan
from biotune.schedule.schedule import Schedule

DIGITS = [
    "executor=in_process",
    *("dataset.max_per_class=6", "dataset.max_eval_per_class=6"),
    *("training.epochs=2", "training.lr=0.003", "training.batch_size=16"),
]
SEARCH = [
    "experiment=smoke",
    *DIGITS,
    *(
        "training.seeds=[1]",
        "dataset.max_classes=6",
        "evolution.generations=2",
        "evolution.population_size=6",
        "test.seeds=[3]",
    ),
]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["biotune"])
    monkeypatch.chdir(tmp_path)


def biotune(command: str, folder: str, arguments: Sequence[str]) -> Path:
    assert main([command, *arguments, f"hydra.run.dir={folder}"]) == 0
    return Path(folder)


def keys(folder: Path) -> list[str]:
    """The keys of all training runs."""
    records = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    return [record["key"] for record in records if record["kind"] == "trial"]


def scores(folder: Path) -> Any:
    return json.loads((folder / "result.json").read_text())["test"]["macro_accuracy"]


def test_a_strategy_starts_from_the_probe_and_so_does_the_schedule_that_it_leaves() -> None:
    some = [*DIGITS, "test.seeds=[1,2]"]
    fresh = biotune("train", "fresh", ["strategy=full", *some])
    probe = biotune("train", "probe", ["strategy=full", "training.head_start=probe", *some])
    again = biotune("train", "again", [f"schedule={probe}/best_schedule.yaml", *some])
    other = biotune("train", "other", [f"schedule={fresh}/best_schedule.yaml", "training.head_start=probe", *some])
    assert yaml.safe_load((probe / "best_schedule.yaml").read_text())["head_start"] == "probe"
    assert "head_start" not in (fresh / "best_schedule.yaml").read_text()
    assert scores(fresh)["values"] != scores(probe)["values"] == scores(again)["values"] == scores(other)["values"]
    assert json.loads((again / "result.json").read_text())["schedule"]["head_start"] == "probe"
    assert "the head starts from the linear probe." in (probe / "report.html").read_text()


def test_genotypes_are_evaluated_with_it() -> None:
    names = "stem,layer1,layer2,layer3,layer4,head,threshold"
    Path("g.csv").write_text(f"{names}\n{'0.5,' * 6}0.1\n{'0.1,' * 6}0.9\n")
    given = ["genotypes=g.csv", "evolution.folds=1", "training.seeds=[1]", *DIGITS]
    fresh, probe = (
        pd.read_csv(biotune("evaluate", start, [*given, f"training.head_start={start}"]) / "evaluations.csv")
        for start in ("fresh", "probe")
    )
    assert probe["head_start"].tolist() == ["probe", "fresh"]  # nothing of the empty one is trained
    assert list(fresh) == [name for name in probe if name != "head_start"]
    assert probe["fitness"][0] < fresh["fitness"][0] and probe["fitness"][1] == fresh["fitness"][1] == 1


@pytest.fixture
def evolved() -> Path:
    return biotune("run", "evolved", [*SEARCH, "training.head_start=evolved"])


def test_a_search_tries_both_and_of_its_baselines_the_probe_alone_is_fitted(evolved: Path) -> None:
    table = pd.read_csv(evolved / "generations.csv")
    assert set(table["head_start"]) == {"fresh", "probe"}
    found = keys(evolved)
    assert any(" probe@fold0" in key for key in found) and any("@fold0" in key and "probe" not in key for key in found)
    finals = [key for key in found if "/test/" in key]
    probes = [key for key in finals if key.startswith("-|-|-|-|-|1.0")]
    assert probes and all(" probe@" in key for key in probes)
    assert any(key.startswith("1.0|1.0|1.0|1.0|1.0|1.0@") for key in finals), "full"


def test_a_search_that_is_resumed_ends_like_one_that_was_not_interrupted(evolved: Path) -> None:
    torn = Path(copytree(evolved, "torn", ignore=ignore_patterns("*.csv", "*.json", "model*", "plots", "report*")))
    lines = (evolved / "journal.jsonl").read_text().splitlines(keepends=True)
    (torn / "journal.jsonl").write_text("".join(lines[: len(lines) // 2]))
    assert main(["resume", str(torn)]) == 0
    assert keys(torn) == keys(evolved)
    for name in ("generations.csv", "test.csv", "predictions.csv"):
        one, other = (pd.read_csv(folder / name).drop(columns="seconds", errors="ignore") for folder in (evolved, torn))
        pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_set_for_all_it_is_every_candidates_and_every_baselines() -> None:
    folder = biotune("run", "probe", [*SEARCH, "training.head_start=probe"])
    assert all(" probe@" in key for key in keys(folder))


def test_where_it_evolves_those_that_begin_with_probing_start_from_the_probe_and_where_it_is_set_all() -> None:
    some = [*SEARCH, "strategies=[full,lp_ft,linear_probe,biotune]", "compare.tune_lr=false", "evolution.generations=0"]
    for setting in ("probe", "evolved"):
        folder = biotune("compare", setting, [*some, f"training.head_start={setting}"])
        found = keys(folder / "seed-3")
        full, lp_ft, linear_probe = [key for key in found if key.startswith(("1.0|1.0", "-|-|-|-|-|1.0")) and "/test/" in key][
            :3
        ]
        assert "lp_ft" in lp_ft and linear_probe.startswith("-")
        assert [" probe@" in key for key in (full, lp_ft, linear_probe)] == [setting == "probe", True, True]
        assert {" probe@" in key for key in found if "@fold0" in key} == ({True} if setting == "probe" else {True, False})


@pytest.mark.parametrize(("fresh_head", "start"), [(True, "evolved"), (False, "fresh")])
def test_a_head_that_is_kept_has_its_start_already(
    fresh_head: bool, start: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told: list[object] = []
    arguments = signature(recipe.evolve)

    def evolve(*given: object) -> Iterator[Generation]:
        told.append(arguments.bind(*given).arguments["head_start"])
        return iter(())

    monkeypatch.setattr(recipe, "evolve", evolve)
    config = RunConfig()
    config.training.head_start = "evolved"
    network, data = SimpleNamespace(blocks=(), fresh_head=fresh_head), SimpleNamespace(fingerprint="")
    session = SimpleNamespace(network=network, data=data, executor=None, folder=tmp_path)
    with pytest.raises(SearchError, match="no candidate"):
        recipe.search(session, config, 1e-3, SILENCE)  # type: ignore[arg-type]
    assert told == [start]
    probing = [Plan(Schedule((Block("head", ("head",)),), (1.0,)))]
    assert started(config, probing, network, "linear_probe")[0].schedule.head_start == ("probe" if fresh_head else "fresh")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("setting", "starts"), [("evolved", ["fresh", "probe"]), ("probe", ["probe"] * 2), ("fresh", ["fresh"] * 2)]
)
def test_baselines_that_nothing_has_tuned_start_like_tuned_ones(setting: str, starts: list[str]) -> None:
    config = RunConfig()
    config.training.head_start = setting
    network = SimpleNamespace(blocks=(Block("stem", ("stem",)), Block("head", ("head",))), fresh_head=True)
    found = final_baselines(SimpleNamespace(config=config, network=network), {})  # type: ignore[arg-type]
    assert [found[name].schedule.head_start for name in ("full", "linear_probe")] == starts
