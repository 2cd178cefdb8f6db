"""The confirmation: the best schedules of a search beside the usual methods, on the same splits with fresh seeds; one wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from statistics import fmean
from typing import Any

from biotune.config.schema import CompareConfig, RunConfig
from biotune.config.search import ConfirmConfig, EvolutionConfig
from biotune.errors import SearchError
from biotune.evolution.generation import Generation
from biotune.evolution.surrogate import FEWEST, Observation, Surrogate
from biotune.fitness.choice import Choice, choose_best, choose_simplest, predict
from biotune.fitness.fitness import fitness_by
from biotune.fitness.racing import residual_sd, still_in
from biotune.recipes import tables
from biotune.recipes.baselines import Tuned, plan_trial
from biotune.recipes.costs import write_front
from biotune.recipes.progress import Progress
from biotune.recipes.session import Session
from biotune.report.statistics import spread
from biotune.report.verdict import EVOLVED
from biotune.schedule.plan import Plan
from biotune.store.files import CONFIRM, write_table
from biotune.training.size import trainable_parameters
from biotune.trial import TrialResult

# standard deviations that a finalist may lie behind after half of the trials before it is dropped: far more than the one within
# which the cheapest wins, since a finalist that is dropped cannot win
_CAUTION = 2.0
_FEWEST_TO_RACE = 4  # trials a finalist; with fewer a half says too little


@dataclass(frozen=True)
class Finalist:
    """One way of training that may win.

    Attributes:
        label: Its name in the tables: the serial number of an evolved schedule, or the name of a baseline.
        strategy: biotune, or the name of a baseline.
        plan: How it trains.
        size: Number of parameters that it trains.
    """

    label: str
    strategy: str
    plan: Plan
    size: int

    @property
    def name(self) -> str:
        """Its name in the table of the final training runs."""
        return f"schedule_{self.label}" if self.strategy == EVOLVED else self.label


@dataclass(frozen=True)
class Confirmed:
    """What the confirmation returns.

    Attributes:
        finalists: Those that may still be returned: the winner first, the others by their mean score.
        document: The entry of `result.json`.
        front: The entry about the front; empty in a search with one objective.
    """

    finalists: tuple[Finalist, ...]
    document: dict[str, Any]
    front: dict[str, Any] = field(default_factory=dict)

    @property
    def winner(self) -> Finalist:
        """The finalist that the confirmation chose."""
        return self.finalists[0]

    def retrained(self, what: str) -> tuple[Finalist, ...]:
        """The finalists to train on all training images, by `confirm.retrain`."""
        return self.finalists if what == "finalists" else self.finalists[:1]


def confirm(
    session: Session,
    config: RunConfig | CompareConfig,
    base_lr: float,
    last: Generation,
    tuned: Tuned,
    progress: Progress,
) -> Confirmed:
    """Train the best distinct schedules and the baselines on the same splits with fresh seeds, and choose by `confirm.choose`.

    Args:
        session: The session that runs the trials.
        config: The settings, with numbers of folds and splits.
        base_lr: λ_0.
        last: The last generation of the search.
        tuned: The tuned baselines.
        progress: Receives the progress.

    Raises:
        SearchError: Nothing could be confirmed.
    """
    if config.confirm.top_k == 0:
        write_table(session.folder / CONFIRM, [], ["schedule", "fold", "seed", "macro_accuracy", "seconds"])
        (best,) = _as_finalists(session, {str(last.hall[0].number): (EVOLVED, Plan(last.hall[0].schedule))})
        return Confirmed((best,), {"macro_accuracy": None}, write_front(session.folder, last.front, {}, {}))
    finalists = finalists_of(session, config, last, tuned.plans)
    confirming = confirming_trials(config.evolution, config.confirm)
    results = _train(session, config, base_lr, finalists, confirming, progress)
    complete = [one for one in finalists if len(results[one.label]) == len(confirming) and _all_ok(results[one.label])]
    if not complete:
        raise SearchError("no schedule could be confirmed: each had a failed trial; the journal holds the reasons.")
    jury = _Jury(config, complete, results, confirming, last)
    choice = jury.choose(range(len(confirming)))
    means = {label: fmean(own) for label, own in jury.scores(range(len(confirming))).items()}
    ordered = sorted(complete, key=lambda one: (one.label != choice.chosen, -means[one.label]))
    schedules = {
        one.label: tables.finalist_entry(one.plan, one.size, base_lr, tuned.factors.get(one.label)) for one in finalists
    }
    document = {**_document(session, jury, choice, ordered[0]), "schedules": schedules, "tuning": tuned.costs}
    labels = {one.plan.schedule.key: one.label for one in finalists if one.plan.method is None}
    return Confirmed(tuple(ordered), document, write_front(session.folder, last.front, labels, results))


def finalists_of(
    session: Session, config: RunConfig | CompareConfig, last: Generation, baselines: Mapping[str, Plan]
) -> list[Finalist]:
    """The baselines, then the best evolved schedules and what stands out on the front; each training run is confirmed once."""
    plans = {name: (name, plan) for name, plan in baselines.items()}
    usual = {plan.schedule.key for plan in baselines.values() if plan.method is None}
    evolved = [entry for entry in last.hall if entry.schedule.key not in usual][: config.confirm.top_k]
    schedules = {entry.number: entry.schedule for entry in evolved}
    if last.front is not None:
        schedules |= {one.number: one.schedule for one in last.front.outstanding if one.schedule.key not in usual}
    return _as_finalists(session, plans | {str(number): (EVOLVED, Plan(one)) for number, one in schedules.items()})


def _as_finalists(session: Session, plans: Mapping[str, tuple[str, Plan]]) -> list[Finalist]:
    return [
        Finalist(label, strategy, plan, trainable_parameters(plan, session.network, session.data.sides))
        for label, (strategy, plan) in plans.items()
    ]


def confirming_trials(evolution: EvolutionConfig, confirm: ConfirmConfig) -> list[tuple[int, int]]:
    """Fold and seed of each confirming trial of a finalist: every fold with every seed, or each seed on the next split."""
    folds, seeds, further = evolution.num_folds, confirm.seeds, confirm.num_splits
    if not evolution.resplit:
        return list(product(range(folds), seeds))
    first, count = (folds, further) if further else (0, folds)
    return [(first + number % count, seeds[number % len(seeds)]) for number in range(max(count, len(seeds)))]


def _train(
    session: Session,
    config: RunConfig | CompareConfig,
    base_lr: float,
    finalists: Sequence[Finalist],
    confirming: Sequence[tuple[int, int]],
    progress: Progress,
) -> dict[str, list[TrialResult]]:
    """The results of each finalist by label; one that is far behind after half of its trials has no others."""
    results: dict[str, list[TrialResult]] = {one.label: [] for one in finalists}
    rows = []
    half = (len(confirming) + 1) // 2 if len(confirming) >= _FEWEST_TO_RACE else len(confirming)
    left = list(finalists)
    for part, phase in ((confirming[:half], "confirming"), (confirming[half:], "confirming those still in")):
        trials = [(one, plan_trial(one.plan, *pair, config, base_lr, unbiased=True)) for pair in part for one in left]
        if not trials:
            break
        progress.begin(phase, len(trials))
        found = session.executor.run([trial for _, trial in trials])
        progress.end()
        for (one, trial), result in zip(trials, found, strict=True):
            results[one.label].append(result)
            rows.append(tables.confirm_row(one.label, one.strategy, trial, result))
        left = _still_in(left, results, len(confirming))
    write_table(session.folder / CONFIRM, rows)
    return results


def _still_in(left: Sequence[Finalist], results: Mapping[str, Sequence[TrialResult]], number: int) -> list[Finalist]:
    sound = {one.label: tuple(result.score for result in results[one.label]) for one in left if _all_ok(results[one.label])}
    sd = residual_sd([list(sound.values())])
    if sd is None:
        return [one for one in left if one.label in sound]
    chosen = still_in(sound, [], 1, number, sd, _CAUTION)
    return [one for one in left if one.label in chosen]


def _all_ok(results: Sequence[TrialResult]) -> bool:
    return all(result.status == "ok" for result in results)


class _Jury:
    """Chooses among finalists by any of their confirming trials."""

    def __init__(
        self,
        config: RunConfig | CompareConfig,
        finalists: Sequence[Finalist],
        results: Mapping[str, Sequence[TrialResult]],
        confirming: Sequence[tuple[int, int]],
        last: Generation,
    ) -> None:
        self.finalists = finalists
        self.results = {one.label: results[one.label] for one in finalists}
        self._choose = config.confirm.choose
        self._metric = config.fitness.metric
        self._confirming = confirming
        self._last = last

    def scores(self, at: Sequence[int]) -> dict[str, tuple[float, ...]]:
        """By label one score per trial, in the metric of the search; higher is better."""
        results = self.results.items()
        return {label: tuple(1 - fitness_by(self._metric, [own[place]]) for place in at) for label, own in results}

    def choose(self, at: Sequence[int]) -> Choice:
        """Choose by the trials at some positions."""
        scores = self.scores(at)
        if self._choose == "score":
            return choose_best(scores)
        favourite = self._favourite(at)
        references = [one.label for one in self.finalists if one.strategy != EVOLVED or one.label == favourite]
        if self._choose == "smoothed":
            return choose_best(scores, references)
        return choose_simplest(scores, {one.label: one.size for one in self.finalists}, references)

    def _favourite(self, at: Sequence[int]) -> str | None:
        """The evolved finalist of which a regression over all evaluations expects the most: few trials favour the luckiest."""
        evolved = [one for one in self.finalists if one.strategy == EVOLVED]
        if not evolved:
            return None
        observations = list(self._last.observations)
        for one in self.finalists:
            if one.plan.method is None:  # a method with hooks is no point of the regression
                fitness = [fitness_by(self._metric, [self.results[one.label][position]]) for position in at]
                folds = [self._confirming[position][0] for position in at]
                observations += [Observation(one.plan.schedule, *pair) for pair in zip(folds, fitness, strict=True)]
        if len(observations) < FEWEST:
            return max(evolved, key=lambda one: fmean(self.scores(at)[one.label])).label
        guesses = Surrogate(observations).predict([one.plan.schedule for one in evolved])
        return evolved[int(guesses.argmin())].label

    def unbiased(self) -> dict[str, tuple[float, ...]]:
        """By label the scores on images that did not choose the epoch; journals of earlier versions hold none."""
        return {
            label: tuple(result.score if result.unbiased is None else result.unbiased for result in own)
            for label, own in self.results.items()
        }


def _document(session: Session, jury: _Jury, choice: Choice, winner: Finalist) -> dict[str, Any]:
    """The entry of `result.json` about the confirmation."""
    data = session.data
    share = len(data.whole.val) / len(data.whole.train)
    prediction = predict(jury.unbiased(), lambda at: jury.choose(at).chosen, share, len(data.test))
    return {
        "macro_accuracy": spread([result.score for result in jury.results[winner.label]]),
        "chosen": winner.label,
        "strategy": winner.strategy,
        "best": choice.best,
        "behind": choice.behind,
        "standard_error": choice.error,
        "predicted": {"macro_accuracy": asdict(prediction)},
        "finalists": [
            {
                "schedule": one.label,
                "strategy": one.strategy,
                "macro_accuracy": spread([result.score for result in jury.results[one.label]]),
                "trainable_params": one.size,
            }
            for one in jury.finalists
        ],
    }
