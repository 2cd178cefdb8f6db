"""The schema of every configuration: each key with its type, default, bounds and meaning.

The only place for defaults that no YAML file sets. Imports neither Hydra nor torch; `cli` registers these classes.
"""

from dataclasses import dataclass, field
from typing import Any

from biotune.config.key import MISSING, key
from biotune.errors import ConfigError

AUTO = "auto"  # of `training.lr`: found before the search
EVOLVED = "evolved"  # of `evolution.unfreezing`: the search finds the order


@dataclass
class DatasetConfig:
    """Where images come from and how they are split."""

    loader: str = key(MISSING, "Name of the registered loader that reads the dataset.")
    name: str = key(MISSING, "Name of the dataset; distinguishes the datasets of one loader.")
    root: str | None = key(None, "Folder of the local copy; null where the data ships with biotune.", path="folders")
    download: bool = key(False, "Fetch the data into dataset.root if it is not there.")
    image_size: int | None = key(None, "Side of the square image in pixels; null follows the backbone.", ge=8, le=4096)
    train_fraction: float = key(1.0, "Share of the training images to use, stratified by class.", gt=0, le=1)
    max_classes: int | None = key(None, "Number of classes to use, the first with training images; null uses all.", ge=2)
    max_per_class: int | None = key(None, "Largest number of training images per class; null uses all.", ge=1)
    max_eval_per_class: int | None = key(
        None, "Largest number of validation images, and of test images, per class; null uses all.", ge=1
    )
    val_fraction: float = key(0.2, "Share held out as validation set where the dataset has none.", gt=0, lt=1)
    test_fraction: float = key(0.2, "Share held out as test set where the dataset has none.", gt=0, lt=1)
    split_seed: int = key(0, "Seed of the hold-outs, folds and subsets.", ge=0, le=2**32 - 2)
    skip_broken: bool = key(False, "Leave out images that cannot be decoded instead of refusing the dataset.")
    shift: str = key(
        "none",
        "Distribution shift applied to all images (digits only).",
        choices=("none", "noise", "blur", "invert", "low_contrast"),
    )
    partition: int | None = key(None, "Official partition into train, val and test, 1 to 10 (dtd only).", ge=1, le=10)
    annotation: str | None = key(None, "Class level (fgvc_aircraft only).", choices=("variant", "family", "manufacturer"))
    source_size: int | None = key(
        None, "Side in pixels of the images as published (medmnist only).", choices=(28, 64, 128, 224)
    )


@dataclass
class BackboneConfig:
    """The pre-trained network and how it is cut into blocks."""

    library: str = key(MISSING, "Where the network is defined: biotune, torchvision or a registered plugin.")
    name: str = key(MISSING, "Name of the network in its library.")
    weights: str = key(
        "default",
        "default, none (random), a name in the library, or the path of a safetensors or state-dict file.",
        usual=("default", "none"),
        path="files",
    )
    head: str = key(
        "new",
        "A new head for the dataset's classes, or the pre-trained one where the classes are the same.",
        choices=("new", "keep"),
    )
    granularity: str = key("block", "Part of the network that one gene stands for.", choices=("block", "layer"))


@dataclass
class EvolutionConfig:
    """The search (BioTune, section 2)."""

    algorithm: str = key(MISSING, "Name of the searcher.", choices=("biotune", "random", "genetic", "cma_es"))
    population_size: int = key(10, "Number of individuals N.", ge=4, le=10_000)
    generations: int = key(10, "Generations G after the initial one.", ge=0, le=100_000)
    elites: int = key(3, "Elites E that survive a generation.", ge=0)
    folds: int = key(
        2, "Folds the training and the validation data are each cut into; generation g uses fold g mod folds.", ge=1
    )
    resplit: bool = key(
        False,
        "Make each fold a new split of all training and validation images, instead of a disjoint part of them; the first "
        "one stays as it is.",
    )
    max_hours: float | None = key(None, "Wall-clock hours after which no generation begins; null sets no limit.", gt=0)
    mating: str = key(
        "brood",
        "Evaluate all children of a generation in one batch (brood), or one by one (sequential).",
        choices=("brood", "sequential"),
    )
    exploitation: bool = key(True, "Probe the elites' neighbourhoods.")
    exploitation_radius: float = key(0.25, "Largest step of a probe along one gene.", gt=0, le=1)
    crossover: bool = key(True, "Mix the parents gene by gene; otherwise a child starts as its first parent.")
    momentum: bool = key(True, "Carry the parents' momentum over to the child.")
    mutation: bool = key(True, "Mutate children, the more the worse their parents rank.")
    adoption: bool = key(True, "Draw children towards their parents' mean and a prototype.")
    mutate_first_brood: bool = key(True, "Compute extinction factors already for generation 0.")
    reevaluate_elites: bool = key(True, "Evaluate the elites again when the fold has changed.")
    seeded: bool = key(False, "Warm start: put common heuristics among the random individuals of generation 0.")
    surrogate: str = key(
        "none",
        "Regression over all evaluations so far that screens children: a Gaussian process (gp), or none.",
        choices=("none", "gp"),
    )
    screen: int = key(1, "Children drawn per child evaluated, the most promising one; 1 evaluates all.", ge=1, le=1000)
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


@dataclass
class TrainingConfig:
    """One training run; the same for every candidate and strategy."""

    lr: int | float | str = key(
        1e-3,
        "Base learning rate λ_0 that a schedule's weights multiply; auto takes the one of lr_grid with the best "
        "validation score, in a search with full fine-tuning.",
        gt=0,
        le=100,
        words=(AUTO,),
    )
    lr_grid: list[float] = key(
        [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1],
        "Base learning rates that lr=auto tries, with each of training.seeds.",
        gt=0,
        le=100,
    )
    epochs: int = key(30, "Largest number of epochs of one training run.", ge=1)
    patience: int = key(3, "Epochs without a better validation score after which a training run stops.", ge=1)
    batch_size: int = key(96, "Images per mini-batch in training.", ge=2)
    eval_batch_size: int = key(256, "Images per mini-batch in evaluation; affects speed and memory, not scores.", ge=1)
    seeds: list[int] = key([684, 559, 629], "Training seeds of every candidate of the search.", ge=0, le=2**63 - 1)
    optimizer: str = key("adam", "Optimizer.", choices=("adam", "adamw", "sgd"))
    momentum: float = key(0.9, "Momentum of sgd.", ge=0, lt=1)
    weight_decay: float = key(0.0, "Weight decay of the trained parameters.", ge=0)
    scheduler: str = key("cosine", "Schedule of the learning rates.", choices=("cosine", "step", "constant"))
    cosine_epochs: int = key(100, "Epochs after which the cosine reaches 0 (T_max); may exceed epochs.", ge=1)
    step_epochs: int = key(10, "Epochs between two steps of the step scheduler.", ge=1)
    step_factor: float = key(0.1, "Factor of the learning rates at a step of the step scheduler.", gt=0, le=1)
    warmup_epochs: int = key(0, "Epochs over which the learning rates rise linearly at the start.", ge=0)
    class_weights: str = key("none", "Weight classes in the loss by inverse frequency.", choices=("none", "balanced"))
    augment: str = key(
        "none", "Training augmentation: none, or random resized crop and flip (standard).", choices=("none", "standard")
    )
    precision: str = key(
        "auto",
        "fp32, bf16 (by autocast), or auto: bf16 where the device has instructions for it and the network has over a million "
        "parameters.",
        choices=("auto", "fp32", "bf16"),
    )
    frozen_norm: str = key(
        "eval",
        "Frozen normalisation layers keep their running statistics (eval) or update them (train, as published).",
        choices=("eval", "train"),
    )

    @property
    def base_lr(self) -> float:
        """`lr` as a number.

        Raises:
            ConfigError: It is auto and has not been chosen yet.
        """
        if self.lr == AUTO:
            raise ConfigError(f"training.lr={AUTO}: is chosen by 'biotune run' and 'biotune train' only; give a number.")
        return float(self.lr)


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
        "median",
        "Stop a trial whose best score so far is below the median of earlier generations (median), or never (none).",
        choices=("none", "median"),
    )
    racing: bool = key(True, "Train candidates with further seeds only while they can still be among the best.")


@dataclass
class FeaturesConfig:
    """Activations shared by trials: the output of the frozen first blocks, computed once."""

    max_gb: float = key(
        8.0,
        "GB of disk for shared activations, in the cache folder and only during a run; 0 shares none. Affects speed, "
        "and the last digit of numbers.",
        ge=0,
    )


@dataclass
class ExecutorConfig:
    """Where trials run."""

    name: str = key(MISSING, "Name of the executor.", choices=("in_process", "process_pool"))
    threads: int = key(1, "CPU threads of one trial; affects the last digit of numbers.", ge=1, le=1024)
    workers: int | None = key(
        None,
        "Worker processes of the process pool; null starts workers_per_gpu per GPU, or on a CPU one per `threads` cores.",
        ge=1,
        le=1024,
    )
    workers_per_gpu: int = key(1, "Worker processes that share a GPU.", ge=1, le=64)
    trial_timeout: float | None = key(
        None,
        "Seconds after which a trial counts as hung and its worker is replaced; null waits for ever. A worker has the "
        "same time to set itself up, at least ten minutes.",
        gt=0,
    )


@dataclass
class ConfirmConfig:
    """The confirmation after the search."""

    top_k: int = key(5, "Distinct schedules to confirm with fresh seeds, the best ones; 0 takes the best search score.", ge=0)
    choose: str = key(
        "smoothed",
        "Choose by the mean score of the confirmation (score), or by a regression over it and all evaluations of the search "
        "(smoothed).",
        choices=("score", "smoothed"),
    )
    seeds: list[int] = key([71, 72, 73], "Training seeds of the confirmation, none of training.seeds.", ge=0, le=2**63 - 1)


@dataclass
class FinalConfig:
    """The final training runs, the only ones scored on the test set."""

    seeds: list[int] = key(
        [1, 2, 3, 4, 5],
        "Training seeds of the final training runs; in a comparison each also splits the data and seeds the search.",
        ge=0,
        le=2**63 - 1,
    )


def _plugins() -> Any:
    """The key `plugins`, which has another position in each schema."""
    return key([], "Modules to import, which register your own networks, datasets or strategies.")


@dataclass
class BlocksConfig:
    """Keys of `biotune blocks`."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    num_classes: int = key(1000, "Number of classes of the counted head.", ge=2)
    plugins: list[str] = _plugins()


@dataclass
class DataConfig:
    """Keys of `biotune data check`."""

    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    plugins: list[str] = _plugins()


@dataclass
class TrialsConfig:
    """Keys shared by the commands that train."""

    seed: int = key(0, "Seed of the search.", ge=0, le=2**63 - 1)
    device: str = key("auto", "auto, cpu, cuda, cuda:INDEX or mps.", usual=("auto", "cpu", "cuda", "mps"))
    plugins: list[str] = _plugins()
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)


@dataclass
class RunConfig(TrialsConfig):
    """Keys of `biotune run`."""

    evolution: EvolutionConfig = field(default_factory=EvolutionConfig)
    fitness: SearchFitnessConfig = field(default_factory=SearchFitnessConfig)
    confirm: ConfirmConfig = field(default_factory=ConfirmConfig)
    test: FinalConfig = field(default_factory=FinalConfig)


@dataclass
class StrategyConfig:
    """A fine-tuning method without a search."""

    name: str = key(MISSING, "Name of the strategy.")
    alpha: float = key(0.01, "l2_sp and l1_sp: strength of the pull of pre-trained weights back to their start.", ge=0)
    beta: float = key(0.01, "l2_sp and l1_sp: weight decay of a new head.", ge=0)
    batches: int = key(5, "auto_rgn and auto_snr: mini-batches whose gradients are measured before each epoch.", ge=1)
    floor: float = key(0.95, "auto_snr: signal-to-noise ratio below which a parameter tensor is not updated.", ge=0)
    rank: int = key(8, "lora: rank of the adapters.", ge=1)
    scale: float = key(8.0, "lora: alpha; the adapters' output is multiplied by alpha / rank.", gt=0)
    decay: float = key(0.75, "layer_decay: factor between the learning rates of two neighbouring blocks.", gt=0, le=1)
    spread: float = key(100.0, "discriminative: ratio of the head's learning rate to the first block's.", ge=1)


STRATEGY_KEYS = {  # key → the strategies that use it
    "alpha": ("l2_sp", "l1_sp"),
    "beta": ("l2_sp", "l1_sp"),
    "batches": ("auto_rgn", "auto_snr"),
    "floor": ("auto_snr",),
    "rank": ("lora",),
    "scale": ("lora",),
    "decay": ("layer_decay",),
    "spread": ("discriminative",),
}


@dataclass
class TrainConfig(TrialsConfig):
    """Keys of `biotune train`."""

    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    schedule: str | None = key(None, "Path of a schedule file to train with; goes with strategy=schedule.", path="files")
    test: FinalConfig = field(default_factory=FinalConfig)


@dataclass
class EvaluateConfig(TrialsConfig):
    """Keys of `biotune evaluate`."""

    genotypes: str = key(MISSING, "CSV file of genotypes: one column per block, and threshold.", path="files")
    evolution: EvolutionConfig = field(default_factory=EvolutionConfig)
    fitness: FitnessConfig = field(default_factory=FitnessConfig)


@dataclass
class ComparisonConfig:
    """How strategies are compared."""

    tune_lr: bool = key(
        True, "Choose each strategy's base learning rate on validation data; a search chooses its learning rates itself."
    )
    lr_factors: list[float] = key([0.3, 1.0, 3.0, 10.0], "Multiples of training.lr that compare.tune_lr tries.", gt=0, le=1e6)
    tune_seeds: list[int] = key([71], "Training seeds of the trials that choose the base learning rates.", ge=0, le=2**63 - 1)


@dataclass
class CompareConfig(TrialsConfig):
    """Keys of `biotune compare`."""

    strategies: list[str] = key(
        [
            "full",
            "linear_probe",
            "lp_ft",
            "gradual_last_to_first",
            "gradual_first_to_last",
            "l1_sp",
            "l2_sp",
            "auto_rgn",
            "auto_snr",
            "surgical",
            "lora",
            "layer_decay",
            "discriminative",
            "biotune",
        ],
        "Names of the strategies; biotune is a whole search, schedule stands for the file of schedule=FILE.",
    )
    schedule: str | None = key(None, "Path of a schedule file; goes with schedule among the strategies.", path="files")
    compare: ComparisonConfig = field(default_factory=ComparisonConfig)
    evolution: EvolutionConfig = field(default_factory=EvolutionConfig)
    fitness: SearchFitnessConfig = field(default_factory=SearchFitnessConfig)
    confirm: ConfirmConfig = field(default_factory=ConfirmConfig)
    test: FinalConfig = field(default_factory=FinalConfig)


Section = Any


def value_at(config: Section, path: str) -> Any:
    """Return the value at a dotted path, such as `training.lr`, of a composed config."""
    for name in path.split("."):
        config = getattr(config, name)
    return config
