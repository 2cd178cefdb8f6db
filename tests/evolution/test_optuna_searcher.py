"""Optuna's samplers as searchers: they propose what Optuna itself would, and go on and are refused like the others."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from landscape import true_fitness

import biotune
from biotune.cli import main
from biotune.errors import ConfigError
from biotune.evolution import optuna_searcher
from biotune.evolution.individual import Individual, Origin
from biotune.evolution.optuna_searcher import OptunaSampler
from biotune.trial import Evaluation, Status

optuna = pytest.importorskip("optuna", reason="optuna is not installed")
pytest.importorskip("cmaes", reason="cmaes is not installed")
BLOCKS = tuple(biotune.Block(f"b{index}", (f"m{index}",)) for index in range(4))
SAMPLERS = ("tpe", "gp", "cmaes")
SIZES = {"population_size": 6, "elites": 0, "generations": 2}


def individual(genes: np.ndarray, number: int) -> Individual:
    one = Individual(genes, np.zeros_like(genes), number, Origin.CHILD)
    one.receive(Evaluation(float((genes**2).sum()), Status.OK, (0.5,)), 0)
    return one


def reference(sampler: str, seed: int) -> Any:
    made = {
        "tpe": optuna.samplers.TPESampler,
        "gp": optuna.samplers.GPSampler,
        "cmaes": optuna.samplers.CmaEsSampler,
    }[sampler](seed=seed)
    return optuna.create_study(direction="minimize", sampler=made)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_it_proposes_what_optuna_does(sampler: str) -> None:
    own = OptunaSampler(np.random.default_rng(1), 3, sampler)
    study = reference(sampler, int(np.random.default_rng(1).integers(2**32)))
    first = [individual(genes, number) for number, genes in enumerate(np.random.default_rng(2).random((11, 3)))]
    space = {f"gene{index}": optuna.distributions.FloatDistribution(0.0, 1.0) for index in range(3)}
    for one in first:
        params = {f"gene{index}": float(gene) for index, gene in enumerate(one.genes)}
        study.add_trial(optuna.create_trial(params=params, distributions=space, value=one.score))
    latest = first
    for _ in range(2):
        proposed = own.propose([], latest, 3)
        asked = [study.ask(space) for _ in range(3)]
        assert [genes.tolist() for genes in proposed] == [list(trial.params.values()) for trial in asked]
        latest = [individual(genes, 0) for genes in proposed]
        for trial, one in zip(asked, latest, strict=True):
            study.tell(trial, one.score)


def searched(seed: int, folder: Path | None = None, most: int = 1000, **settings: Any) -> tuple[list[str], biotune.Search]:
    keys, search = [], biotune.Search(BLOCKS, algorithm="optuna", seed=seed, folder=folder, **settings)
    with search:
        while not search.over and len(keys) < most:
            trial = search.ask()
            keys.append(trial.schedule.key)
            search.tell(trial, 1 - true_fitness(trial.schedule))
    return keys, search


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_search_is_repeated_and_goes_on_from_its_folder(sampler: str, tmp_path: Path) -> None:
    sizes = {**SIZES, "population_size": 5 if sampler == "gp" else 6}  # its fits take long
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole, search = searched(3, sampler=sampler, **sizes)
    begun, _ = searched(3, tmp_path, most=8, sampler=sampler, **sizes)
    rest, again = searched(3, tmp_path, sampler=sampler, **sizes)
    assert begun + rest == whole and len(whole) > 10
    assert again.best == search.best
    assert searched(4, sampler=sampler, **sizes)[0] != whole


def test_the_samplers_differ_and_the_default_is_tpe() -> None:
    found = {sampler: searched(0, sampler=sampler, **SIZES)[0] for sampler in SAMPLERS}
    assert len({tuple(keys) for keys in found.values()}) == 3
    assert searched(0, **SIZES)[0] == found["tpe"]


def test_optunas_own_messages_stay_as_they_were(capfd: pytest.CaptureFixture[str]) -> None:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.INFO)
    try:
        OptunaSampler(np.random.default_rng(0), 3, "tpe")
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
    finally:
        optuna.logging.set_verbosity(before)
    assert "study" not in capfd.readouterr().err


@pytest.mark.parametrize(("sampler", "package"), [("tpe", "optuna"), ("cmaes", "cmaes"), ("gp", "scipy")])
def test_a_missing_package_is_one_line_before_any_work(
    sampler: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(optuna_searcher, "find_spec", lambda name: None if name == package else object())
    line = f"sampler={sampler}: needs {package}, of the extra 'optuna': pip install 'biotune[optuna]'."
    with pytest.raises(ConfigError) as caught:
        biotune.Search(BLOCKS, algorithm="optuna", sampler=sampler)
    assert str(caught.value) == line
    for command in (["run"], ["compare", "strategies=[full,biotune]"]):
        assert main([*command, "evolution=optuna", f"evolution.sampler={sampler}", "hydra.run.dir=out"]) == 2
        assert capsys.readouterr().err == f"biotune: {line}\n"
    assert not (tmp_path / "out").exists()


def test_the_sampler_belongs_to_optuna() -> None:
    with pytest.raises(ConfigError, match=r"^sampler=gp: needs algorithm=optuna\.$"):
        biotune.Search(BLOCKS, sampler="gp")
    with pytest.raises(ConfigError, match=r"^sampler=nsga: must be one of tpe, gp, cmaes\.$"):
        biotune.Search(BLOCKS, algorithm="optuna", sampler="nsga")
