"""Optuna's studies over layer schedules: their parameters for any of its samplers, and the search as one.

    import optuna
    from biotune.optuna import ScheduleSampler, suggest_schedule

    def objective(trial):
        return train(suggest_schedule(trial, blocks))

    study = optuna.create_study(direction="maximize", sampler=ScheduleSampler(blocks, evaluations=60))
    study.optimize(objective)

The parameters are the genes of the search: `importance_<block>` in [0, 1] for each block. Where it is above the threshold, the
block is trained at 10^(2 (importance − 0.5)) times the base learning rate; otherwise it is frozen.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NoReturn

try:
    import optuna
except ModuleNotFoundError as error:
    if error.name != "optuna":
        raise
    raise ImportError("biotune.optuna: needs the extra 'optuna': pip install 'biotune[optuna]'.") from None

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import Study, StudyDirection
from optuna.trial import BaseTrial, FrozenTrial, TrialState

from biotune.errors import ConfigError, SearchError, shown
from biotune.evolution.ask_tell import Best, Search, checked_blocks
from biotune.evolution.asked import Trial
from biotune.evolution.optuna_space import THRESHOLD, importance_of, schedule_space, values_in
from biotune.evolution.settings import settings_of
from biotune.schedule.block import Block
from biotune.schedule.genotype import decode
from biotune.schedule.schedule import FRESH, TOGETHER, Schedule

__all__ = ["ScheduleSampler", "suggest_schedule"]
_THRESHOLD = 0.3  # `evolution.fixed_threshold` of the default search
_ASKED, _TOLD = "biotune:asked", "biotune:told"  # system attributes of a trial: when the search was asked for it, and told
_LEFT_OUT = {  # settings that a study's parameters or values cannot express, and their only value
    "folds": 1,
    "freezing": True,
    "rates": True,
    "always_head": False,
}
_OTHERS_WAIT = 1.0  # seconds between two looks for trials that have ended without the sampler's knowledge


def suggest_schedule(
    trial: BaseTrial,
    blocks: Sequence[Block],
    *,
    fixed_threshold: float | None = _THRESHOLD,
    unfreezing: str = TOGETHER,
    head_start: str = FRESH,
) -> Schedule:
    """Suggest a layer schedule; for studies with any sampler.

    Args:
        trial: The trial of an objective, or a finished one, such as `study.best_trial`, for its schedule.
        blocks: The network's blocks in forward order, the head last; see `biotune.blocks_of`.
        fixed_threshold: Importances up to it freeze a block; None makes it a parameter `threshold` in [0, 1].
        unfreezing: together, last_to_first or first_to_last; evolved makes it a parameter that is one of the first two.
        head_start: fresh or probe; evolved makes it a parameter.

    Returns:
        The schedule. It may train no block (`is_empty`); then there is nothing to train.

    Raises:
        ConfigError: The blocks are none.
        ScheduleError: A value is none of those above.
    """
    own = checked_blocks(blocks)
    found: dict[str, Any] = {THRESHOLD: fixed_threshold, "unfreezing": unfreezing, "head_start": head_start}
    for name, distribution in schedule_space([block.name for block in own], fixed_threshold, unfreezing, head_start).items():
        if isinstance(distribution, CategoricalDistribution):
            found[name] = trial.suggest_categorical(name, distribution.choices)
        else:
            found[name] = trial.suggest_float(name, 0.0, 1.0)
    genes = [*(found[importance_of(block.name)] for block in own), found[THRESHOLD]]
    return replace(decode(genes, own), unfreezing=found["unfreezing"], head_start=found["head_start"])


@dataclass(frozen=True)
class _Out:
    """A trial of the search that a trial of the study is training, and the thread that asked for it."""

    trial: Trial
    thread: int


class ScheduleSampler(optuna.samplers.BaseSampler):
    """Samples the schedules that `biotune.Search` asks for, in objectives that call `suggest_schedule`.

    The study ends by itself when the search is over. Trials that fail, and those that the study's pruner gives up, are told to
    the search too, the latter with their best reported value. With `optimize(n_jobs=…)` a thread waits while the search needs
    the results of others; `mating="asynchronous"` spares the waiting.

    The study's storage keeps the search: a study that is loaded again with a new sampler of the same arguments replays its
    trials and goes on with those that it would have had. Trials that never ended are given again. One process at a time may
    sample a study. The sampler suggests the parameters of the schedule alone.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        *,
        evaluations: int | None = None,
        seed: int = 0,
        head_start: str = FRESH,
        **settings: Any,
    ) -> None:
        """Prepare the search of one study.

        Args:
            blocks: The network's blocks, see `biotune.Search`.
            evaluations: Number of evaluations, see `biotune.Search`.
            seed: Seed of the search.
            head_start: fresh, probe or evolved; give `suggest_schedule` the same.
            **settings: Further settings of `biotune.Search` by name; give `suggest_schedule` the same `fixed_threshold` and
                `unfreezing`. `folds` other than 1 and the ablations `freezing`, `rates` and `always_head` have no parameters.

        Raises:
            ConfigError: A setting is unknown, out of bounds or has no parameter, or the blocks are none.
        """
        own = settings_of(evaluations, seed, 1, "none", head_start, settings).plain
        for name, value in _LEFT_OUT.items():
            if own[name] != value:
                raise ConfigError(f"{name}={shown(own[name])}: has no parameter in a study; must be {value} here.")
        self._search = Search(blocks, evaluations=evaluations, seed=seed, head_start=head_start, prune="none", **settings)
        names = [block.name for block in blocks]
        self._space = schedule_space(names, own["fixed_threshold"], own["unfreezing"], head_start)
        self._changed = threading.Condition()
        self._study: str | None = None
        self._events = 0  # the search was asked or told so many times
        self._known = 0  # trials of the study that were given a schedule
        self._again: deque[Trial] = deque()  # asked, but never evaluated
        self._out: dict[int, _Out] = {}  # by the id of the study's trial

    @property
    def best(self) -> Best:
        """The best schedule as `biotune.Search.best` chooses it; in a study that minimises its score is the negative value.

        `study.best_trial` is the one with the best single value instead, which is also the luckiest.

        Raises:
            SearchError: No trial has a value.
        """
        with self._changed:
            return self._search.best

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The parameters of `suggest_schedule`."""
        return dict(self._space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, float | str]:
        """Ask the search for a schedule; waits where trials of other threads have to end first.

        Raises:
            SearchError: The trials that are out must be told first, or the study is not of this search.
            TrialPruned: The search is over.
        """
        with self._changed:
            self._follow(study)
            given = self._next(study)
            try:
                self._note(study, trial, _ASKED, given.number)
            except Exception:  # of the storage; the schedule is for another trial then
                self._again.appendleft(given)
                raise
            self._known += 1
            self._out[trial._trial_id] = _Out(given, threading.get_ident())
            return self._params(given.schedule)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> NoReturn:
        """Refuse a parameter that is none of the schedule's.

        Raises:
            SearchError: Always.
        """
        raise SearchError(
            f"ScheduleSampler: has no parameter {param_name}; give suggest_schedule the blocks and settings of the sampler, "
            "and parameters of your own a fixed value."
        )

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Tell the search how a trial ended, and end the study with the search."""
        with self._changed:
            out = self._out.get(trial._trial_id)
            if out is None:  # enqueued with all its parameters, or it suggested none
                return
            if state == TrialState.FAIL or self._is_of(trial, out.trial):
                self._note(study, trial, _TOLD, out.trial.number)
                self._tell(study, out.trial, trial, state, values)
            else:
                self._again.append(out.trial)
            del self._out[trial._trial_id]
            self._changed.notify_all()
            if self._search.over:
                with suppress(RuntimeError):  # outside of `optimize`
                    study.stop()

    def _follow(self, study: Study) -> None:
        """Bind the sampler to its first study, and take in what that holds.

        Raises:
            SearchError: It is another study, has several objectives, holds other trials, or is sampled by others too.
        """
        if len(study.directions) != 1:
            raise SearchError("ScheduleSampler: needs a study with one objective.")
        if self._study is None:
            self._replay(study)
            self._study = study.study_name
        if self._study != study.study_name:
            raise SearchError(
                f"ScheduleSampler: samples the study {self._study}; give {study.study_name} a sampler of its own."
            )
        if sum(_ASKED in trial.system_attrs for trial in _trials(study)) != self._known:
            raise SearchError(
                f"ScheduleSampler: the study {self._study} is sampled by another process too; one at a time may, with n_jobs "
                "threads."
            )

    def _replay(self, study: Study) -> None:
        """Ask and tell the search all that the study's trials say it was asked and told."""
        asked: dict[int, int] = {}
        told: dict[tuple[int, int], FrozenTrial] = {}
        for trial in _trials(study):
            if _ASKED not in trial.system_attrs:
                continue
            self._known += 1
            event, number = trial.system_attrs[_ASKED]
            asked[number] = min(event, asked.get(number, event))
            if _TOLD in trial.system_attrs and trial.state.is_finished():
                told[tuple(trial.system_attrs[_TOLD])] = trial
        untold: dict[int, Trial] = {}
        for event, number in sorted([*told, *((event, number) for number, event in asked.items())]):
            self._events = event + 1
            ended = told.get((event, number))
            if ended is None and self._search.ready:
                given = self._search.ask()
                untold[given.number] = given
                same = given.number == number
            elif ended is not None and number in untold:
                same = ended.state == TrialState.FAIL or self._is_of(ended, untold[number])
            else:
                same = False
            if same and ended is not None:
                self._tell(study, untold.pop(number), ended, ended.state, ended.values)
            if not same:
                raise SearchError(
                    f"ScheduleSampler: the study {study.study_name} holds trials of another search; give the blocks, settings "
                    "and seed that it was begun with, or begin another study."
                )
        self._again.extend(untold.values())

    def _next(self, study: Study) -> Trial:
        """The trial to give next, once there is one."""
        while True:
            if self._again:
                return self._again.popleft()
            if self._search.ready:
                return self._search.ask()
            if self._search.over:
                said = f"ScheduleSampler: the search of the study {study.study_name} is over."
                try:
                    study.stop()
                except RuntimeError:  # outside of `optimize`
                    raise SearchError(said) from None
                raise optuna.TrialPruned(said)
            self._take_back(study)
            if self._again:
                continue
            if all(out.thread == threading.get_ident() for out in self._out.values()):
                raise SearchError(
                    f"ScheduleSampler: {len(self._out)} trials are out, tell the study of them first; with "
                    "mating='asynchronous' more may be out at once."
                )
            self._changed.wait(_OTHERS_WAIT)

    def _take_back(self, study: Study) -> None:
        """Give those trials again that ended without `after_trial`, as Optuna ends those of a process that has died."""
        ended = {trial._trial_id for trial in _trials(study) if trial.state.is_finished()}
        for id in ended & self._out.keys():
            self._again.append(self._out.pop(id).trial)

    def _note(self, study: Study, trial: FrozenTrial, what: str, number: int) -> None:
        """Record in the study that the search was asked or told, and when."""
        study._storage.set_trial_system_attr(trial._trial_id, what, [self._events, number])
        self._events += 1

    def _tell(self, study: Study, given: Trial, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        sign = -1.0 if study.direction == StudyDirection.MINIMIZE else 1.0
        if state == TrialState.COMPLETE and values is not None and math.isfinite(values[0]):
            self._search.tell(given, sign * values[0])
            return
        reported = [sign * value for value in trial.intermediate_values.values() if math.isfinite(value)]
        if state == TrialState.PRUNED and reported:
            self._search.tell(given, max(reported), pruned=True)
        else:
            self._search.tell(given, error=f"the trial {trial.number} of the study has no finite value ({state.name})")

    def _params(self, schedule: Schedule) -> dict[str, float | str]:
        """The parameters of a schedule of the search, which always has genes."""
        genes = zip(schedule.blocks, schedule.importances or (), strict=True)
        importances = {block.name: value for block, value in genes}
        return values_in(self._space, importances, schedule.threshold, schedule.unfreezing, schedule.head_start)

    def _is_of(self, trial: FrozenTrial, given: Trial) -> bool:
        """Whether a trial was trained with the schedule that it was given; one that was enqueued may have had its own.

        Raises:
            SearchError: It lacks a parameter.
        """
        own = self._params(given.schedule)
        if lacking := [name for name in own if name not in trial.params]:
            raise SearchError(
                f"ScheduleSampler: trial {trial.number} suggested no {lacking[0]}; give suggest_schedule the blocks and "
                "settings of the sampler."
            )
        return all(trial.params[name] == value for name, value in own.items())


def _trials(study: Study) -> list[FrozenTrial]:
    """All trials of a study; a pruner such as Hyperband's shows a sampler some of them only."""
    return study._storage.get_all_trials(study._study_id, deepcopy=False)
