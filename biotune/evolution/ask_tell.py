"""The search for any training loop: it is asked for trials and told their scores."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from biotune.config.search import SECONDS
from biotune.errors import ConfigError, RunFolderError, SearchError, one_line, shown
from biotune.evolution.asked import Trial
from biotune.evolution.front import Member, front_among, front_of
from biotune.evolution.generation import most_evaluations
from biotune.evolution.search_folder import SearchFolder
from biotune.evolution.settings import settings_of
from biotune.evolution.sources import read_sources, sources_in
from biotune.evolution.told import Cost, by_share, objectives_of, told_costs
from biotune.evolution.trials import trials_of
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule
from biotune.trial import Status, TrialResult
from biotune.trial import Trial as RunTrial


@dataclass(frozen=True)
class Best:
    """The best schedule so far.

    Attributes:
        schedule: The schedule.
        score: Its score as the regression over all evaluations predicts it: the highest single score is also the luckiest. With
            fewer than eight evaluations the mean of its own scores over the folds.
        evaluations: The number of folds it was evaluated on itself.
        costs: Of a member of the front, its costs by objective, or its trained share of the parameters (trainable_share).
        knee: Whether it is the knee of the front: the smallest sum of score and costs, each scaled to [0, 1] over the front.
    """

    schedule: Schedule
    score: float
    evaluations: int
    costs: Mapping[str, float] = field(default_factory=dict, hash=False)
    knee: bool = False


class Search:
    """A search for the best layer schedule, whose trials a program of one's own trains.

    Ask for a trial, train with its schedule, and tell the score, until the search is over:

        search = biotune.Search(blocks, evaluations=60)
        while not search.over:
            trial = search.ask()
            search.tell(trial, train(trial.schedule))
        print(search.best)

    It is the search of `biotune run`, with the same defaults but for what a plain loop cannot do: one fold, all blocks trained
    from the first epoch on, and heads that start fresh. The same seed and the same scores give the same trials.

    Several trials may be out at once, and be told in any order: ask while `ready`. Schedules that train no block, or that were
    trained before on the same fold, are never asked for. `ask` and `tell` are called from one thread.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        *,
        evaluations: int | None = None,
        epochs: int = 30,
        seed: int = 0,
        prune: str = "none",
        head_start: str = "fresh",
        folder: str | os.PathLike[str] | None = None,
        **settings: Any,
    ) -> None:
        """Begin a search, or go on with the one in `folder`.

        Args:
            blocks: The network's blocks in forward order, the head last; see `blocks_of`.
            evaluations: Number of evaluations; by default 60, as in `biotune run`. It sets `population_size`, `elites` and
                `generations`.
            epochs: The most epochs of a trial, for `Trial.epochs` and pruning.
            seed: Seed of the search. Train all trials with the same training seed: their scores are compared.
            prune: What `Trial.should_stop` goes by: the learning curves so far (predicted), or the median of earlier trials
                (median), which predicted takes too once a score lies outside [0, 1]; or it never stops (none).
            head_start: fresh, probe, or evolved: whether schedules say where the head starts from, see `Schedule`.
            folder: Keeps the search: what was asked and told, its tables and its best schedule. A search that is begun again
                with the same folder and settings goes on, and asks first for the trials that were not told.
            **settings: Keys of `evolution` by name, such as `folds`, `unfreezing`, `mating` and `algorithm`. With `folds=n`
                trials take n folds in turn; `unfreezing="evolved"` is for loops that call `Schedule.unfreeze`.
                With `objectives=["accuracy", "trainable_params"]` it looks for trade-offs between score and cost, see `front`
                and `tell`; no trial should stop then. `warm_start=[…]` names folders of earlier searches or runs, and schedule
                files.

        Raises:
            ConfigError: A setting is unknown or out of bounds, or the blocks are none.
            RunFolderError: The folder cannot be written, is in use, or was begun with other settings or blocks.
        """
        self._blocks = checked_blocks(blocks)
        config = settings_of(evaluations, seed, epochs, prune, head_start, settings)
        self._evaluations, self._epochs = most_evaluations(config.evolution), epochs
        self._objectives = objectives_of(config.evolution.costs, self._blocks)
        paths = config.evolution.warm_start
        sources = read_sources(paths, self._blocks, "warm_start") if paths and folder is None else []
        self._number = 0
        self._waiting: deque[Trial] = deque()  # drawn, to be given by `ask`
        self._out: dict[int, tuple[Trial, RunTrial]] = {}  # those that are not told yet
        self._first: list[Best] = []  # those told before any counts in the history
        self._given: dict[int, float] = {}  # when `ask` gave those that are out
        self._ended = self._closed = False
        self._folder: SearchFolder | None = None
        if folder is None:
            self._trials = trials_of(config, self._blocks, sources, self._objectives)
        else:
            self._folder = SearchFolder(Path(folder), config.plain, self._blocks)
            try:
                sources = sources_in(self._folder.folder, paths, self._blocks, "warm_start")
                self._trials = trials_of(config, self._blocks, sources, self._objectives)
                self._replay(self._folder)
                self._finish()
            except BaseException:
                self.close()
                raise

    @property
    def ready(self) -> bool:
        """Whether `ask` has a trial to give; where not, trials that are out must be told first, or the search is over."""
        return not self._closed and (bool(self._waiting) or self._draw())

    @property
    def over(self) -> bool:
        """Whether all evaluations have been told."""
        return not self._out and not self.ready and self._ended

    @property
    def best(self) -> Best:
        """The best schedule so far; trials whose generation is not complete yet count from its end on.

        Raises:
            SearchError: No trial has been told a score.
        """
        history = self._trials.history
        surrogate = history.surrogate()
        ranked = history.best(surrogate)
        if not ranked and self._first:  # no generation is complete
            return max(self._first, key=lambda one: one.score)
        if not ranked:
            raise SearchError("Search.best: no trial has been told a score yet.")
        fitness = ranked[0].score
        if surrogate is not None:
            low, high = history.limits
            fitness = min(max(float(surrogate.predict([ranked[0].schedule])[0]), low), high)
        return Best(ranked[0].schedule, 1.0 - fitness, len(ranked[0].by_fold))

    @property
    def front(self) -> list[Best]:
        """The schedules that no other one beats in the score and in every cost, the best score first.

        The costs are those of `objectives`, or else the trained share of the parameters. Trials whose generation is not
        complete yet count from its end on.

        Raises:
            SearchError: No trial has been told a score, or there are no objectives and the blocks do not state their sizes.
        """
        objectives = self._objectives or by_share(self._blocks)
        found = front_of(self._trials.history, objectives)
        if found is None:
            first = [Member(one.schedule, at, one.score, {}, 1) for at, one in enumerate(self._first)]
            if not first:
                raise SearchError("Search.front: no trial has been told a score yet.")
            found = front_among(first, objectives)
        return [Best(one.schedule, one.score, one.evaluations, one.costs, one.knee) for one in found.members]

    def ask(self) -> Trial:
        """Return the next trial to train.

        Raises:
            SearchError: The search is over, or trials that are out must be told first.
        """
        self._check_open()
        if not self.ready:
            if not self._out:
                raise SearchError("Search.ask: the search is over; ask while not search.over.")
            raise SearchError(f"Search.ask: {len(self._out)} trials are out, tell one of them first; ask while search.ready.")
        trial = self._waiting.popleft()
        self._given[trial.number] = time.monotonic()
        return trial

    def tell(
        self,
        trial: Trial | int,
        score: float | None = None,
        *,
        error: str | None = None,
        cost: Cost = None,
        pruned: bool = False,
    ) -> None:
        """Receive the result of a trial: a score, or the reason for which it failed.

        A trial whose `should_stop` was true when it ended counts as not trained to the end.

        Args:
            trial: The trial that `ask` gave, or its number.
            score: Any finite number, greater is better; the defaults are made for macro accuracy in [0, 1]. None takes the best
                score that was reported.
            error: Why the trial has no score; it counts as the worst, and the search goes on.
            cost: The cost of the search's objectives, a number or a mapping from their names to numbers, such as
                `{"memory": 2e9, "seconds": 31.5}`. trainable_params need not be told where the blocks state their sizes. In a
                search with one objective a number is the seconds it took, for the tables. Seconds that are not told are the
                time since `ask`.
            pruned: Whether it was given up by a rule of your own, and so was not trained to the end either.

        Raises:
            SearchError: The trial is not out, a score or a cost is missing, or not finite; the search has not changed then.
        """
        self._check_open()
        number = trial.number if isinstance(trial, Trial) else trial
        is_number = isinstance(number, int) and not isinstance(number, bool)
        if not is_number or number not in self._out:
            was = "told already" if is_number and 0 <= number < self._number else "none of this search"
            raise SearchError(f"Search.tell: trial {shown(number)} is {was}; tell each trial that ask gave once.")
        own, run = self._out[number]
        told = trial if isinstance(trial, Trial) else own
        if told.schedule.key != own.schedule.key:
            raise SearchError(f"Search.tell: trial {number} has another schedule here; it is of another search.")
        elapsed = time.monotonic() - self._given.get(number, time.monotonic())
        costs = told_costs(number, cost, self._objectives, elapsed, error is not None)
        result = told.result(score, None if error is None else one_line(error), costs[SECONDS], pruned)
        record = _told(number, result, {} if self._objectives is None else {"costs": costs})
        if self._folder is not None:
            self._folder.append(record)
        self._take_in(number, result, costs)
        self._finish()

    def close(self) -> None:
        """Release the folder; a search that is over has done so. Another `Search` with the same folder can go on."""
        if self._folder is not None and not self._closed:
            self._closed = True
            self._folder.close(self._ended)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        told = self._number - len(self._out)
        return f"<Search of {len(self._blocks)} blocks, at most {self._evaluations} evaluations: {told} trials told>"

    def _finish(self) -> None:
        """Complete the folder of a search that is over, and release it."""
        if self._folder is not None and self.over:
            if self._trials.history.observations:
                self._folder.write_best(self.best.schedule)
            self.close()

    def _draw(self, journalled: bool = False) -> bool:
        """Draw the next trial, if there is one now.

        Args:
            journalled: Whether the journal holds it already.
        """
        if self._ended:
            return False
        run = self._trials.next_trial()
        self._write_generations()
        if run is None:
            self._ended = not self._out
            return False
        trial = Trial(self._number, run.schedule, run.fold or 0, self._epochs, _floor=run.floor)
        self._number += 1
        self._out[trial.number] = trial, run
        self._waiting.append(trial)
        if self._folder is not None and not journalled:
            self._folder.append(_asked(trial))
        return True

    def _take_in(self, number: int, result: TrialResult, costs: Mapping[str, float]) -> None:
        trial, run = self._out.pop(number)
        if self._objectives is not None and result.status != Status.FAILED:
            self._objectives.note(trial.schedule, costs)
        self._given.pop(number, None)
        if trial in self._waiting:
            self._waiting.remove(trial)
        if result.status == Status.OK:
            self._first.append(Best(trial.schedule, result.score, 1))
        self._trials.take_in(run, result)
        if self._trials.history.observations:
            self._first.clear()
        self._write_generations()

    def _write_generations(self) -> None:
        while self._trials.closed:
            generation = self._trials.closed.popleft()
            if self._folder is not None:
                self._folder.close_generation(generation)

    def _replay(self, folder: SearchFolder) -> None:
        """Go through what the journal says; trials that were not told are given again."""
        for record in folder.records:
            number = record.get("trial")
            if record["kind"] == "asked":
                same = self._draw(journalled=True) and _asked(self._waiting[-1]) == record
            else:
                same = number in self._out
                if same:
                    self._take_in(int(record["trial"]), folder.result_of(record), folder.costs_of(record))
            if not same:
                raise RunFolderError(
                    f"{folder.folder}: the search differs from the journalled one, at trial {number}. Were biotune, numpy or "
                    "DEAP updated in between? Begin a new one."
                )

    def _check_open(self) -> None:
        if self._closed and not self._ended:
            raise SearchError("Search: its folder was closed; begin another Search with this folder to go on.")


def search(
    objective: Callable[[Trial], float | None],
    blocks: Sequence[Block],
    evaluations: int | None = None,
    *,
    catch: type[Exception] | tuple[type[Exception], ...] = (),
    **settings: Any,
) -> Search:
    """Search for the schedule with the greatest objective; trials are trained one after the other.

        best = biotune.search(objective, biotune.blocks_of(model)).best

    Args:
        objective: Trains with a trial's schedule and returns its score, greater is better, or None for the best one reported.
        blocks: The network's blocks, see `Search`.
        evaluations: Number of evaluations, see `Search`.
        catch: Exceptions of the objective with which a trial counts as failed; any other one ends the search.
        **settings: The other arguments of `Search`.

    Returns:
        The search, which is over.

    Raises:
        ConfigError: A setting is unknown or out of bounds, or the blocks are none.
        RunFolderError: See `Search`.
        SearchError: The objective returned no finite number.
    """
    with Search(blocks, evaluations=evaluations, **settings) as found:
        while not found.over:
            trial = found.ask()
            try:
                score = objective(trial)
            except catch as error:
                found.tell(trial, error=f"{type(error).__name__}: {error}")
            else:
                found.tell(trial, score)
    return found


def checked_blocks(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """The blocks of a search.

    Raises:
        ConfigError: They are none, or two have one name.
    """
    own = tuple(blocks)
    if not own or not all(isinstance(block, Block) for block in own):
        raise ConfigError("blocks: must be a sequence of biotune.Block, as biotune.blocks_of(model) returns it.")
    names = [block.name for block in own]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"blocks: {twice[0]} is the name of two blocks; names must differ.")
    return own


def _asked(trial: Trial) -> dict[str, Any]:
    """The journal's record of a trial: enough to tell whether a search that goes on makes the same."""
    return {"kind": "asked", "trial": trial.number, "schedule": trial.schedule.key, "fold": trial.fold}


def _told(number: int, result: TrialResult, more: Mapping[str, Any]) -> dict[str, Any]:
    """The journal's record of a result, which `SearchFolder.result_of` reads."""
    facts = {"status": result.status, "curve": result.curve, "seconds": result.seconds, "error": result.error}
    return {"kind": "told", "trial": number, **facts, **more}
