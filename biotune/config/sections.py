"""The schema of the config groups that commands share: dataset, backbone, training, executor, strategy."""

from dataclasses import dataclass, field
from typing import Any

from biotune.config.key import MISSING, Sides, key, numbers_of, sides_of
from biotune.errors import ConfigError

AUTO = "auto"  # found before the search
EVOLVED = "evolved"  # found by the search
STREAM = "stream"  # decoded for every mini-batch
NO_COLUMN = "none"  # no column of a table, although one has a usual name
ONE_CYCLE = "one_cycle"
POLICIES = ("randaugment", "trivialaugment", "augmix")


@dataclass
class DatasetConfig:
    """Where images come from and how they are split."""

    loader: str = key(MISSING, "Name of the registered loader that reads the dataset.")
    name: str = key(MISSING, "Name of the dataset; distinguishes the datasets of one loader.")
    root: str | None = key(None, "Folder of the local copy; null where the data ships with biotune.", path="folders")
    download: bool = key(False, "Fetch the data into dataset.root if it is not there.")
    image_size: int | str | None = key(
        None,
        "Side of the square image in pixels, or [HEIGHT,WIDTH]; null follows the backbone.",
        ge=8,
        le=4096,
        sides=True,
    )
    train_fraction: float = key(1.0, "Share of the training images to use, stratified by class.", gt=0, le=1)
    max_classes: int | None = key(None, "Number of classes to use, the first with training images; null uses all.", ge=2)
    max_per_class: int | None = key(None, "Largest number of training images per class; null uses all.", ge=1)
    max_eval_per_class: int | None = key(
        None, "Largest number of validation images, and of test images, per class; null uses all.", ge=1
    )
    val_fraction: float = key(0.2, "Share held out as validation set where the dataset has none.", gt=0, lt=1)
    val_from_train: bool = key(
        False, "Hold the validation set out of the training images although the dataset has one, whose images join them."
    )
    test_fraction: float = key(0.2, "Share held out as test set where the dataset has none.", gt=0, lt=1)
    split_seed: int = key(0, "Seed of the hold-outs, folds and subsets.", ge=0, le=2**32 - 2)
    skip_broken: bool = key(
        False, "Leave out images that cannot be decoded, and rows of a table without a file, instead of refusing the dataset."
    )
    decoded: str = key(
        "cache",
        "Keep decoded images in the cache on disk (cache), or decode them again for every mini-batch (stream), for datasets "
        "too large to keep decoded; the scores are the same.",
        choices=("cache", STREAM),
    )
    value_range: str = key(
        AUTO,
        "Values LOW,HIGH that become black and white in images of more than 8 bits; auto takes the type's range, or that of "
        "the training images where they leave most of it unused.",
        pair=True,
    )
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
    table: str | None = key(
        None, "CSV, TSV or Parquet file with a row an image, below dataset.root or anywhere (table only).", path="files"
    )
    hub: str | None = key(None, "Name of a dataset on the Hugging Face Hub, such as OWNER/NAME (hf only).")
    image_column: str | None = key(
        None, "Column of the images or of their paths; null takes the one with a usual name or type (table and hf only)."
    )
    label_column: str | None = key(
        None, "Column of the labels; null takes the one with a usual name or type (table and hf only)."
    )
    split_column: str | None = key(
        None,
        "Column that says train, val or test; null takes the one with a usual name, if there is one, none uses none (table "
        "only).",
        usual=(NO_COLUMN,),
    )
    group_column: str | None = key(
        None,
        "Column of groups, such as patients, that no split separates; null takes the one with a usual name, if there is one, "
        "none uses none (table and hf only).",
        usual=(NO_COLUMN,),
    )

    @property
    def sides(self) -> Sides | None:
        """`image_size` as one number for a square, or as height and width; None follows the backbone."""
        if not isinstance(self.image_size, str):
            return self.image_size
        sides = sides_of(self.image_size)
        return sides[0] if sides is not None and sides[0] == sides[1] else sides

    @property
    def limits(self) -> tuple[float, float] | None:
        """The two numbers of `value_range`; None for auto."""
        return None if self.value_range == AUTO else numbers_of(self.value_range)


@dataclass
class BackboneConfig:
    """The pre-trained network and how it is cut into blocks."""

    library: str = key(MISSING, "Where the network is defined: biotune, torchvision or a registered plugin.")
    name: str = key(MISSING, "Name of the network in its library.")
    weights: str = key(
        "default",
        "default, none (random), a name in the library, or the path of a safetensors file, a state dict or a checkpoint.",
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
    decay_norm: bool = key(True, "Weight decay applies to biases and normalisation layers too.")
    clip_grad: float | None = key(None, "Largest norm of the gradient of all trained parameters; null or 0 clips none.", ge=0)
    scheduler: str = key(
        "cosine",
        "Schedule of the learning rates; one_cycle rises and falls once over all mini-batches of `epochs`.",
        choices=("cosine", "step", "constant", ONE_CYCLE),
    )
    cosine_epochs: int | str = key(
        100,
        "Epochs after which the cosine reaches 0 (T_max); may exceed epochs. auto takes the epochs after the warm-up.",
        ge=1,
        words=(AUTO,),
    )
    step_epochs: int = key(10, "Epochs between two steps of the step scheduler.", ge=1)
    step_factor: float = key(0.1, "Factor of the learning rates at a step of the step scheduler.", gt=0, le=1)
    warmup_epochs: int = key(0, "Epochs over which the learning rates rise linearly at the start.", ge=0)
    class_weights: str = key("none", "Weight classes in the loss by inverse frequency.", choices=("none", "balanced"))
    label_smoothing: float = key(0.0, "Share of each target that is spread evenly over all classes.", ge=0, lt=1)
    augment: str = key(
        "none",
        "Training augmentation: none, random resized crop and flip (standard), or these followed by a policy of torchvision.",
        choices=("none", "standard", *POLICIES),
    )
    mixup: float = key(
        0.0,
        "Alpha of MixUp, which blends the images of a mini-batch and their labels in pairs; 0 blends none. With cutmix, each "
        "mini-batch takes one of the two at random.",
        ge=0,
    )
    cutmix: float = key(
        0.0, "Alpha of CutMix, which pastes a box of one image into another and blends their labels; 0 pastes none.", ge=0
    )
    ema: float | None = key(
        None,
        "Decay per mini-batch of a moving average of the weights, which is then validated, tested and kept in their place; "
        "null or 0 averages none.",
        ge=0,
        lt=1,
    )
    drop_path: float | None = key(
        None,
        "Largest rate of stochastic depth, in networks that have it: the rates rise over the blocks. null keeps the network's.",
        ge=0,
        lt=1,
    )
    precision: str = key(
        "auto",
        "fp32, bf16 (by autocast), or auto: bf16 where the device has instructions for it and the network has over a million "
        "parameters and, on a CPU, no depthwise convolutions.",
        choices=("auto", "fp32", "bf16"),
    )
    frozen_norm: str = key(
        "eval",
        "Frozen normalisation layers keep their running statistics (eval) or update them (train, as published).",
        choices=("eval", "train"),
    )
    head_start: str = key(
        "fresh",
        "Start of a new head in every training run: random weights (fresh), the linear probe, a logistic regression on the "
        "features of the pre-trained network (probe), or either, as the search of run or compare finds (evolved; of the other "
        "strategies linear_probe and lp_ft start from the probe then).",
        choices=("fresh", "probe", EVOLVED),
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

    @property
    def mixes_images(self) -> bool:
        """Whether the images of a mini-batch are blended with each other."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def changes_images(self) -> bool:
        """Whether training sees changed images, so that activations of the images as they are cannot stand in for them."""
        return self.augment != "none" or self.mixes_images


@dataclass
class FeaturesConfig:
    """Activations shared by trials: the output of the frozen first blocks, computed once."""

    max_gb: float = key(
        8.0,
        "GB of disk for shared activations, in the cache folder and only during a run; 0 shares none. Affects speed, "
        "and the last digit of numbers.",
        ge=0,
    )
    views: int | None = key(
        None,
        "Views of each training image that training.augment draws once, by `seed`; each epoch takes one of them at random. A "
        "finite sample of the augmentation, whose activations can be shared. null draws anew each time, and shares none.",
        ge=1,
        le=1024,
    )


@dataclass
class ExecutorConfig:
    """Where trials run."""

    name: str = key(MISSING, "Name of the executor.", choices=("in_process", "process_pool", "ray"))
    threads: int = key(1, "CPU threads of one trial; affects the last digit of numbers.", ge=1, le=1024)
    workers: int | None = key(
        None,
        "Workers; null starts, in a process pool, workers_per_gpu per GPU, or on a CPU one per `threads` cores, and with ray "
        "as many as the nodes have room for.",
        ge=1,
        le=1024,
    )
    workers_per_gpu: int = key(1, "Worker processes of the process pool that share a GPU.", ge=1, le=64)
    trial_timeout: float | None = key(
        None,
        "Seconds after which a trial counts as hung and its worker is replaced; null waits for ever, and says once of "
        "a trial that it takes ten times as long as usual. A worker has the same time to set itself up, at least ten minutes.",
        gt=0,
    )
    address: str = key(
        "local",
        "With ray: the cluster to join, HOST:PORT or auto, which finds one that runs on this machine; local starts one that "
        "ends with the command.",
    )
    cpus: float | None = key(None, "With ray: CPUs of a worker, which Ray only counts; null takes `threads`.", gt=0, le=1024)
    gpus: float | None = key(
        None,
        "With ray: GPUs of a worker, 1, or a share of one, which bounds its memory too; 0 trains on the CPU; null takes one if "
        "this machine has one and device does not forbid it.",
        ge=0,
        le=1,
    )


def _in_place_of(name: str) -> Any:
    """The key that stands for `training.NAME` in final training runs, with the same bounds."""
    known = TrainingConfig.__dataclass_fields__[name].metadata
    meaning = f"training.{name} of the final training runs; null takes training.{name}."
    return field(default=None, metadata={**known, "meaning": meaning})


@dataclass
class FinalTrainingConfig:
    """What differs in final training runs; null keeps what the search has."""

    epochs: int | None = _in_place_of("epochs")
    patience: int | None = _in_place_of("patience")
    batch_size: int | None = _in_place_of("batch_size")
    weight_decay: float | None = _in_place_of("weight_decay")
    decay_norm: bool | None = _in_place_of("decay_norm")
    clip_grad: float | None = _in_place_of("clip_grad")
    scheduler: str | None = _in_place_of("scheduler")
    cosine_epochs: int | str | None = _in_place_of("cosine_epochs")
    step_epochs: int | None = _in_place_of("step_epochs")
    step_factor: float | None = _in_place_of("step_factor")
    warmup_epochs: int | None = _in_place_of("warmup_epochs")
    label_smoothing: float | None = _in_place_of("label_smoothing")
    augment: str | None = _in_place_of("augment")
    mixup: float | None = _in_place_of("mixup")
    cutmix: float | None = _in_place_of("cutmix")
    ema: float | None = _in_place_of("ema")
    drop_path: float | None = _in_place_of("drop_path")

    @property
    def changed(self) -> dict[str, Any]:
        """The settings that are not null, by their names in `training`."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass
class FinalConfig:
    """The final training runs, the only ones scored on the test set."""

    seeds: list[int] = key(
        [1, 2, 3, 4, 5],
        "Training seeds of the final training runs; in a comparison each also splits the data and seeds the search.",
        ge=0,
        le=2**63 - 1,
    )
    training: FinalTrainingConfig = field(default_factory=FinalTrainingConfig)


@dataclass
class FinalModelConfig:
    """The final model, made of the final training runs of what is returned."""

    model: str = key(
        "best",
        "The model of the seed that validates best (best), one with the average of the weights of all seeds (soup), for which "
        "they must start from one head, or all of them, with averaged probabilities (ensemble); the best one is kept where the "
        "average validates worse.",
        choices=("best", "soup", "ensemble"),
    )
    temperature: bool = key(
        False,
        "Divide the final model's logits by a temperature fitted on validation data, so that its probabilities are calibrated; "
        "classes do not change.",
    )


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
class ComparisonConfig:
    """How strategies are compared."""

    tune_lr: bool = key(
        True, "Choose each strategy's base learning rate on validation data; a search chooses its learning rates itself."
    )
    lr_factors: list[float] = key([0.3, 1.0, 3.0, 10.0], "Multiples of training.lr that compare.tune_lr tries.", gt=0, le=1e6)
    tune_seeds: list[int] = key([71], "Training seeds of the trials that choose the base learning rates.", ge=0, le=2**63 - 1)
    restarts: int = key(
        1,
        "Final training runs of each strategy and seed, with seeds of their own; the one with the best validation score "
        "counts, as biotune run chooses its final model.",
        ge=1,
    )
