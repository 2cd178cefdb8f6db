"""A tabulated task as something to search on: smooth mean scores, and the noise of single fine-tunes around them.

The mean is fitted to a table that scripts/tabulate_tasks.py wrote, once by a Gaussian process and once by boosted trees: a
searcher that fits a Gaussian process itself must not be judged on a Gaussian process alone. Both are fitted to how far a score
stays below a ceiling, on a logarithmic scale, because searchers find wherever a model promises what no training ever reached.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.model_selection import KFold, cross_val_predict

from biotune.schedule.block import Block
from biotune.schedule.genotype import decode
from biotune.schedule.schedule import PROBE, TOGETHER, Schedule
from biotune.trial import Trial, TrialResult

Floats = NDArray[np.float64]
TEST = "test"  # the scores on the test split after training on all data; all others are validation scores
ALL = "all"
_SMALLEST_SD = 0.002
_NOISE_GROUPS = 6
_HEADROOM = (
    0.06  # of the ceiling over the best mean score of the table, by cross-validation of the better half of the genotypes
)
_MANNER = ("unfreezing", "head_start")  # columns of a table with manners of training
_NOT_GENES = ("genotype", "kind", "data", "seed", "val_accuracy", "test_accuracy", "epochs", "threshold", *_MANNER)


@dataclass(frozen=True)
class Noise:
    """How single fine-tunes scatter around their mean: evenly between the given points, as at the last ones beyond them.

    Attributes:
        means: Mean scores, ascending.
        sds: Standard deviation of a fine-tune at each of them, what all have in common left out.
        shared: Standard deviation of what all fine-tunes with one seed on one fold have in common.
    """

    means: tuple[float, ...]
    sds: tuple[float, ...]
    shared: float

    def sd(self, mean: Floats | float) -> Floats:
        """Standard deviation of single fine-tunes around their means, what they share left out."""
        return np.maximum(np.interp(mean, self.means, self.sds), _SMALLEST_SD)


@dataclass
class Task:
    """Mean scores of any schedule, by data, and the noise.

    Attributes:
        name: Its name.
        blocks: The network's blocks.
        surfaces: From features (n, f) to mean scores (n,), for `test`, and for `fold0`, `fold1` and `all`, or for `split0` to
            `split2` of a table with manners of training.
        noise: For all of them but `test`.
        explained: Share of the variance of unseen genotypes' mean scores that a model of the same kind explains.
    """

    name: str
    blocks: tuple[Block, ...]
    surfaces: dict[str, Callable[[Floats], Floats]]
    noise: dict[str, Noise]
    explained: dict[str, float]
    _known: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def splits(self) -> int:
        """Number of splits of all data, each with scores of its own; 0 where the table has folds and all data."""
        return sum(data.startswith("split") for data in self.noise)

    def features(self, schedule: Schedule) -> Floats:
        """What the task's models know of a schedule."""
        return features(schedule, manners=self.splits > 0)

    def means(self, schedules: Sequence[Schedule], data: str) -> Floats:
        """Mean scores; each distinct schedule is looked up in the model once."""
        unknown = {schedule.key: schedule for schedule in schedules if (schedule.key, data) not in self._known}
        if unknown:
            scores = self.surfaces[data](np.stack([self.features(schedule) for schedule in unknown.values()]))
            self._known.update({(key, data): float(score) for key, score in zip(unknown, scores, strict=True)})
        return np.array([self._known[schedule.key, data] for schedule in schedules])

    def quality(self, schedule: Schedule) -> float:
        """What counts in the end: the mean test score after training on all data."""
        return float(self.means([schedule], TEST)[0])


class Simulated:
    """An executor that answers trials from a task: mean plus noise, fresh for each run."""

    def __init__(self, task: Task, folds: int, rng: np.random.Generator) -> None:
        """Set up for one run.

        Args:
            task: What is searched on.
            folds: With one fold all data are used.
            rng: Source of the noise.
        """
        self._task, self._rng = task, rng
        kind = "split" if task.splits else "fold"
        self._names = {0: ALL} if folds == 1 and not task.splits else {fold: f"{kind}{fold}" for fold in range(folds)}
        self._shared: dict[tuple[str, int], float] = {}

    def run(self, trials: Sequence[Trial]) -> list[TrialResult]:
        """Draw a score a trial."""
        scores = {}
        for data in sorted({self._data(trial) for trial in trials}):
            own = [trial for trial in trials if self._data(trial) == data]
            means, noise = self._task.means([trial.schedule for trial in own], data), self._task.noise[data]
            single = self._rng.normal(0.0, 1.0, len(own)) * noise.sd(means)
            for trial, score in zip(own, means + single, strict=True):
                shared = self._shared.setdefault((data, trial.seed), self._rng.normal(0.0, noise.shared))
                scores[trial.key] = float(np.clip(score + shared, 0.0, 1.0))
        return [TrialResult("ok", (scores[trial.key],), 0.0) for trial in trials]

    def close(self) -> None:
        """Nothing to release."""

    def _data(self, trial: Trial) -> str:
        return ALL if trial.fold is None else self._names[trial.fold]


def read_task(path: Path, kind: str) -> Task:
    """Fit a task's model to its table.

    Args:
        path: A table that scripts/tabulate_tasks.py wrote.
        kind: gp or trees.
    """
    table = pd.read_csv(path)
    blocks = tuple(Block(str(name), (str(name),)) for name in table.columns if name not in _NOT_GENES)
    manners = _MANNER[0] in table.columns
    surfaces, noise, explained = {}, {}, {}
    for data in (*sorted(set(table["data"])), TEST):
        value = "test_accuracy" if data == TEST else "val_accuracy"
        own = table[table[value].notna()] if data == TEST else table[table["data"] == data]
        scores = own.pivot_table(index="genotype", columns=["data", "seed"], values=value)
        rows = own.drop_duplicates("genotype").set_index("genotype").loc[scores.index]
        points = np.stack([features(schedule, manners) for schedule in schedules_of(rows, blocks)])
        means = scores.to_numpy().mean(axis=1)
        model = below_ceiling(MODELS[kind](points.shape[1]), float(means.max()) + _HEADROOM)
        with warnings.catch_warnings():
            # a feature without influence wants a length scale without end
            warnings.simplefilter("ignore", ConvergenceWarning)
            surfaces[data] = bounded(clone(model).fit(points, means).predict)
            guesses = cross_val_predict(model, points, means, cv=KFold(5, shuffle=True, random_state=0))
        explained[data] = 1 - float(np.var(means - guesses) / np.var(means))
        if data != TEST:
            noise[data] = estimate_noise(scores.to_numpy())
    return Task(path.name.partition(".")[0], blocks, surfaces, noise, explained)


def schedules_of(rows: pd.DataFrame, blocks: Sequence[Block]) -> list[Schedule]:
    """The schedules of a table's rows, with their manners of training where the table has them."""
    genes = rows[[*(block.name for block in blocks), "threshold"]].to_numpy().tolist()
    given = [name for name in _MANNER if name in rows.columns]
    manners = [dict(zip(given, values, strict=True)) for values in rows[given].to_numpy().tolist()]
    return [replace(decode(own, blocks), **manner) for own, manner in zip(genes, manners, strict=True)]


def features(schedule: Schedule, manners: bool = False) -> Floats:
    """For each block whether it is trained, then for each block log10 of its multiple of the base rate, 0 where frozen.

    With manners of training also whether the blocks join one by one, and whether the head starts from the linear probe.
    """
    weights = np.array(schedule.lr_weights)
    trained = weights > 0
    manner = [schedule.unfreezing != TOGETHER, schedule.head_start == PROBE] if manners else []
    return np.concatenate([trained.astype(float), np.log10(np.where(trained, weights, 1.0)), np.array(manner, dtype=float)])


def estimate_noise(scores: Floats) -> Noise:
    """Noise of single fine-tunes: good schedules scatter much less than bad ones, so it is taken from groups of equals.

    Args:
        scores: (genotypes, seeds), two seeds at least.
    """
    seeds = scores.shape[1]
    effects = scores.mean(axis=0) - scores.mean()
    means = scores.mean(axis=1)
    rest = scores - means[:, None] - effects[None, :]
    squares = (rest**2).sum(axis=1) / (seeds - 1)
    groups = np.array_split(np.argsort(means, kind="stable"), _NOISE_GROUPS)
    points = [(float(means[group].mean()), math.sqrt(float(squares[group].mean()))) for group in groups if len(group)]
    own = float(squares.mean()) / len(scores)  # what of the effects is nothing but single noise, averaged
    shared = math.sqrt(max(0.0, float(effects.var(ddof=1)) - own))
    return Noise(tuple(mean for mean, _ in points), tuple(sd for _, sd in points), shared)


def below_ceiling(model: BaseEstimator, ceiling: float) -> TransformedTargetRegressor:
    """A model of −log(ceiling − score), which answers with scores below the ceiling."""
    return TransformedTargetRegressor(
        model, func=lambda scores: -np.log(ceiling - scores), inverse_func=lambda depths: ceiling - np.exp(-depths)
    )


def bounded(predict: Callable[[Floats], Floats]) -> Callable[[Floats], Floats]:
    """A model's answers as accuracies."""
    return lambda points: np.clip(predict(points), 0.0, 1.0)


def gaussian_process(num_features: int) -> GaussianProcessRegressor:
    """A smooth model with a length scale a feature."""
    scales = RBF(np.full(num_features, 2.0), (0.2, 50.0))
    kernel = ConstantKernel(1.0, (0.05, 100.0)) * scales + WhiteKernel(0.05, (1e-3, 1.0))
    return GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)


def boosted_trees(num_features: int) -> GradientBoostingRegressor:
    """A model of steps, for however many features."""
    return GradientBoostingRegressor(
        n_estimators=300, learning_rate=0.05, max_depth=4, subsample=0.5, min_samples_leaf=3, random_state=0
    )


MODELS: dict[str, Callable[[int], GaussianProcessRegressor | GradientBoostingRegressor]] = {
    "gp": gaussian_process,
    "trees": boosted_trees,
}


def best_quality(task: Task, candidates: Iterable[Schedule], rng: np.random.Generator, steps: int = 40) -> float:
    """The best mean test score that a climb from the best candidates finds: an upper mark for searchers."""
    ranked = sorted(candidates, key=task.quality, reverse=True)[:20]
    for _ in range(steps):
        moved = [(parent, neighbour(parent.lr_weights, rng)) for parent in ranked for _ in range(10)]
        offspring = [
            Schedule(task.blocks, weights, unfreezing=parent.unfreezing, head_start=parent.head_start)
            for parent, weights in moved
            if any(weights)
        ]
        task.means(offspring, TEST)  # all at once, which is faster
        ranked = sorted([*ranked, *offspring], key=task.quality, reverse=True)[:20]
    return task.quality(ranked[0])


def neighbour(lr_weights: Sequence[float], rng: np.random.Generator) -> tuple[float, ...]:
    """Other rates near by and, three times in ten, one block the other way round."""
    moved = [float(np.clip(weight * 10 ** rng.normal(0.0, 0.2), 0.1, 10.0)) if weight > 0 else 0.0 for weight in lr_weights]
    if rng.random() < 0.3:
        block = int(rng.integers(len(moved)))
        moved[block] = 0.0 if moved[block] > 0 else float(10 ** rng.uniform(-1, 1))
    return tuple(moved)
