"""The schema of a search: the evolution, the fitness, and the confirmation of what was found."""

from collections.abc import Iterator
from dataclasses import dataclass

from biotune.config.key import MISSING, key, show
from biotune.config.sections import AUTO, EVOLVED
from biotune.errors import ConfigError

ACCURACY = "accuracy"  # the first of all objectives
TRAINABLE_PARAMS, MACS, SECONDS, MEMORY = COSTS = ("trainable_params", "macs", "seconds", "memory")
_MOST_OBJECTIVES = 3


@dataclass
class EvolutionConfig:
    """The search (BioTune, section 2)."""

    algorithm: str = key(MISSING, "Name of the searcher.", choices=("biotune", "random", "genetic", "cma_es", "optuna"))
    sampler: str = key("tpe", "Sampler of evolution=optuna, with Optuna's defaults.", choices=("tpe", "gp", "cmaes"))
    population_size: int = key(10, "Number of individuals N.", ge=4, le=10_000)
    generations: int = key(10, "Generations G after the initial one.", ge=0, le=100_000)
    elites: int = key(3, "Elites E that survive a generation.", ge=0)
    folds: int | str = key(
        2,
        "Folds the training and the validation data are each cut into; generation g uses fold g mod folds. auto, with "
        "resplit: the fewer validation images, the more splits.",
        ge=1,
        words=(AUTO,),
    )
    resplit: bool = key(
        False,
        "Make each fold a new split of all training and validation images, instead of a disjoint part of them; the first "
        "one stays as it is.",
    )
    spread: bool = key(
        False,
        "Spread the candidates of each generation over all folds in turn, so that no fold's difficulty is taken for merit; "
        "otherwise all of them are on fold generation mod folds.",
    )
    max_hours: float | None = key(None, "Wall-clock hours after which no generation begins; null sets no limit.", gt=0)
    mating: str = key(
        "brood",
        "Evaluate all children of a generation in one batch (brood), or one by one (sequential), or draw one whenever a worker "
        "is free, so that none waits for the end of a generation (asynchronous).",
        choices=("brood", "sequential", "asynchronous"),
    )
    exploitation: bool = key(True, "Probe the elites' neighbourhoods.")
    exploitation_radius: float = key(0.25, "Largest step of a probe along one gene.", gt=0, le=1)
    crossover: bool = key(True, "Mix the parents gene by gene; otherwise a child starts as its first parent.")
    momentum: bool = key(True, "Carry the parents' momentum over to the child.")
    mutation: bool = key(True, "Mutate children, the more the worse their parents rank.")
    adoption: bool = key(True, "Draw children towards their parents' mean and a prototype.")
    mutate_first_brood: bool = key(True, "Compute extinction factors already for generation 0.")
    reevaluate_elites: bool = key(True, "Evaluate the elites again when the fold has changed.")
    seeded: bool = key(
        False,
        "Warm start: put full fine-tuning, layer-wise decay, gradual unfreezing and linear probing, each at several learning "
        "rates, among the random individuals of generation 0.",
    )
    warm_start: list[str] = key(
        [],
        "Folders of earlier searches, also unfinished ones, of other data or of other networks, and schedule files: their best "
        "schedules are among the first candidates, and the searches' evaluations are a prior of the surrogate as far as they "
        "fit; [] for none.",
    )
    surrogate: str = key(
        "none",
        "Regression over all evaluations so far that screens children: a Gaussian process (gp), or none.",
        choices=("none", "gp"),
    )
    screen: int = key(1, "Children drawn per child evaluated, the most promising one; 1 evaluates all.", ge=1, le=1000)
    exploration: float = key(
        2.0,
        "κ of the screen, which prefers a low predicted mean − κ times its standard deviation; 0 trusts the mean alone.",
        ge=0,
    )
    ranking: str = key(
        "fitness",
        "What ranks the population, and so chooses parents and survivors: the fitness of each individual, from whichever fold "
        "(fitness), or the surrogate's prediction from all evaluations (predicted).",
        choices=("fitness", "predicted"),
    )
    offspring: str = key(
        "biotune",
        "How children are drawn: by BioTune's crossover, momentum, mutation and adoption of importances (biotune), or as "
        "mutants and crossings of schedules, and some at random (schedules).",
        choices=("biotune", "schedules"),
    )
    freezing: bool = key(True, "Let the threshold freeze blocks; otherwise all blocks are trained.")
    rates: bool = key(True, "Give each block its own learning rate; otherwise all trained blocks use the base learning rate.")
    fixed_threshold: float | None = key(None, "The freezing threshold of every individual; null lets it evolve.", ge=0, le=1)
    always_head: bool = key(False, "Train the head even if its importance is below the threshold.")
    unfreezing: str = key(
        "together",
        "Order in which trained blocks join: all at once (together), one more every epoch from the head down (last_to_first) "
        "or up to it (first_to_last), or one of the first two, chosen by the search (evolved).",
        choices=("together", "last_to_first", "first_to_last", EVOLVED),
    )

    objectives: list[str] = key(
        [ACCURACY],
        "What the search looks for: the best validation score (accuracy), or trade-offs between it and up to two costs, as in "
        "[accuracy,trainable_params]. Costs are trainable_params, and of a training step macs, seconds and memory. With costs "
        "no trial is pruned or raced, since both compare scores alone.",
        usual=COSTS,
    )

    @property
    def costs(self) -> tuple[str, ...]:
        """The objectives besides accuracy; empty for a search with one objective."""
        return tuple(self.objectives[1:])

    @property
    def num_folds(self) -> int:
        """`folds` as a number.

        Raises:
            ConfigError: It is auto and has not been computed from the data yet.
        """
        return _settled("evolution.folds", self.folds)


@dataclass
class FitnessConfig:
    """The fitness of a schedule."""

    metric: str = key(
        "acc",
        "Measure behind the fitness: validation macro accuracy (acc), the same less its deviation over the seeds (acc+std), or "
        "validation loss (loss).",
        choices=("acc", "acc+std", "loss"),
    )
    max_failed_share: float = key(0.5, "Share of failed candidates in a generation above which the search stops.", gt=0, le=1)


@dataclass
class SearchFitnessConfig(FitnessConfig):
    """The fitness of a schedule in a search, and what the search saves on losing candidates."""

    prune: str = key(
        "none",
        "Stop a trial that is predicted not to come among the best (predicted), or whose best score so far is below the median "
        "of earlier generations (median), or never (none).",
        choices=("none", "median", "predicted"),
    )
    racing: bool = key(True, "Train candidates with further seeds only while they can still be among the best.")


@dataclass
class ConfirmConfig:
    """The confirmation after the search."""

    top_k: int = key(3, "Distinct schedules to confirm with fresh seeds, the best ones; 0 takes the best search score.", ge=0)
    baselines: list[str] = key(
        [], "Strategies that are confirmed beside the best schedules and may win, each at its best learning rate; [] for none."
    )
    lr_factors: list[float] = key(
        [0.3, 1.0, 3.0, 10.0], "Multiples of training.lr that each of confirm.baselines tries.", gt=0, le=1e6
    )
    splits: int | str = key(
        0,
        "New splits of all training and validation images to confirm on, none of which the search has used; 0 confirms on the "
        "folds of the search. auto: with evolution.resplit the fewer validation images, the more splits, otherwise 0.",
        ge=0,
        words=(AUTO,),
    )
    choose: str = key(
        "simplest",
        "Choose by the mean score of the confirmation (score), with a regression over it and all evaluations of the search for "
        "the evolved schedules (smoothed), or likewise, but a finalist within a standard error of the best wins that trains at "
        "most half as many parameters (simplest).",
        choices=("simplest", "smoothed", "score"),
    )
    retrain: str = key(
        "winner",
        "What the final training runs train on all training images: the finalist that is chosen (winner), or all that the "
        "confirmation has not ruled out (finalists); the model with the best validation score is returned, with its schedule.",
        choices=("winner", "finalists"),
    )
    seeds: list[int] = key([71, 72, 73], "Training seeds of the confirmation, none of training.seeds.", ge=0, le=2**63 - 1)

    @property
    def num_splits(self) -> int:
        """`splits` as a number.

        Raises:
            ConfigError: It is auto and has not been computed from the data yet.
        """
        return _settled("confirm.splits", self.splits)


@dataclass
class SuggestionConfig:
    """The suggestion of a schedule without a search."""

    runs: list[str] = key(
        [],
        "Folders of earlier searches, and schedule files, whose schedules count, the more the more alike network and number of "
        "training images are; [] for none.",
    )
    batches: int = key(8, "The most mini-batches on which relative gradients are measured.", ge=1)
    max_seconds: float = key(
        60.0,
        "What training once with the suggestion may take, by the measured time of a step: it is then set against the linear "
        "probe on validation data, and the better one is suggested. 0 trains nothing.",
        ge=0,
    )


def _settled(path: str, value: int | str) -> int:
    """The value of a key as a number, unless it is still to be computed from the data."""
    if value == AUTO:
        raise ConfigError(f"{path}={AUTO}: is computed from the number of images; give a number here.")
    return int(value)


def objectives_that_disagree(evolution: EvolutionConfig, compared: bool) -> Iterator[str]:
    """Report objectives that are none, and parts of a search, or a comparison, that compare scores alone."""
    said = f"evolution.objectives={show(evolution.objectives)}"
    if not evolution.objectives or evolution.objectives[0] != ACCURACY or len(evolution.objectives) > _MOST_OBJECTIVES:
        yield f"{said}: must be {ACCURACY}, then at most two of {', '.join(COSTS)}."
        return
    for name in evolution.costs:
        if name not in COSTS:
            yield f"{said}: {name} is no cost; must be of {', '.join(COSTS)}."
            return
    if not evolution.costs:
        return
    if compared:
        yield f"{said}: 'biotune compare' compares scores alone; look for trade-offs by 'biotune run'."
    elif evolution.algorithm not in ("biotune", MISSING):
        yield f"{said}: needs evolution=biotune, not {evolution.algorithm}."
    elif evolution.mating != "brood":
        yield f"{said}: needs evolution.mating=brood, whose survivors are selected together, not {evolution.mating}."
    elif evolution.exploitation:
        yield f"{said}: does not go with evolution.exploitation=true, whose probes compare scores alone; give false."
