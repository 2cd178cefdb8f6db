"""Optuna's samplers as searchers. Optuna is imported when one is made."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from numpy.random import Generator

from biotune.errors import ConfigError
from biotune.evolution.individual import Genes, Individual

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.samplers import BaseSampler

OPTUNA = "optuna"  # `evolution.algorithm`
_PACKAGES = {"tpe": ("optuna",), "gp": ("optuna", "torch", "scipy"), "cmaes": ("optuna", "cmaes")}


def check_installed(sampler: str) -> None:
    """Check that the packages of a sampler are installed.

    Args:
        sampler: `evolution.sampler`.

    Raises:
        ConfigError: One is missing; the message names the extra.
    """
    for package in _PACKAGES[sampler]:
        if find_spec(package) is None:
            raise ConfigError(f"sampler={sampler}: needs {package}, of the extra 'optuna': pip install 'biotune[optuna]'.")


class OptunaSampler:
    """One of Optuna's samplers with its defaults, over the genes; it is asked for a generation at a time."""

    def __init__(self, rng: Generator, num_genes: int, sampler: str) -> None:
        """Make a study.

        Args:
            rng: Source of the sampler's seed.
            num_genes: n, the number of blocks plus one.
            sampler: `evolution.sampler`.

        Raises:
            ConfigError: A package is missing.
        """
        check_installed(sampler)
        import optuna
        from optuna.distributions import FloatDistribution

        self._space = {f"gene{index}": FloatDistribution(0.0, 1.0) for index in range(num_genes)}
        self._study = _study_with(_made(sampler, int(rng.integers(2**32))))
        self._asked: list[Trial] = []
        self._create_trial = optuna.trial.create_trial

    def propose(self, population: Sequence[Individual], latest: Sequence[Individual], count: int) -> list[Genes]:
        """Tell the previous sample's fitness, and ask for the next one, see `Proposer`."""
        for trial, individual in zip(self._asked, latest, strict=False):
            self._study.tell(trial, individual.score)
        for individual in latest[len(self._asked) :]:  # generation 0, which is drawn as for all searchers
            params = dict(zip(self._space, individual.genes.tolist(), strict=True))
            self._study.add_trial(self._create_trial(params=params, distributions=dict(self._space), value=individual.score))
        self._asked = [self._study.ask(dict(self._space)) for _ in range(count)]
        return [np.array([trial.params[name] for name in self._space]) for trial in self._asked]


def _made(sampler: str, seed: int) -> BaseSampler:
    from optuna.samplers import CmaEsSampler, GPSampler, TPESampler

    if sampler == "tpe":
        return TPESampler(seed=seed)
    if sampler == "gp":
        return GPSampler(seed=seed, warn_independent_sampling=False)
    return CmaEsSampler(seed=seed, warn_independent_sampling=False)


def _study_with(sampler: BaseSampler) -> Study:
    """A study in memory, of which Optuna does not tell on the terminal."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        return optuna.create_study(direction="minimize", sampler=sampler)
    finally:
        optuna.logging.set_verbosity(before)
