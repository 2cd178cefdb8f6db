"""The schema of experiment trackers, to which a run is sent while it goes on."""

from dataclasses import dataclass, field, fields

from biotune.config.key import key


@dataclass
class TensorBoardConfig:
    """TensorBoard: event files in the run's folder."""

    enabled: bool = key(False, "Write event files into tensorboard/ in the run's folder.")


@dataclass
class MlflowConfig:
    """MLflow."""

    enabled: bool = key(False, "Send the run to MLflow.")
    uri: str | None = key(
        None,
        "MLflow's server or store, such as http://HOST:5000 or sqlite:////PATH/mlflow.db, without a password; null takes "
        "MLFLOW_TRACKING_URI, or MLflow's own default in the working folder.",
    )
    experiment: str = key("biotune", "Name of the experiment that holds the runs; it is made where there is none.")


@dataclass
class WandbConfig:
    """Weights & Biases."""

    enabled: bool = key(False, "Send the run to Weights & Biases.")
    project: str = key("biotune", "Name of the project that holds the runs.")
    entity: str | None = key(None, "User or team that owns the project; null takes the account's default.")
    mode: str | None = key(
        None,
        "online, or offline, which only writes files into wandb/ in the run's folder; null takes WANDB_MODE, or online.",
        choices=("online", "offline"),
    )


@dataclass
class TrackerConfig:
    """Experiment trackers, to which the run is sent while it goes on; `tracker=[NAME,NAME]` takes several."""

    tensorboard: TensorBoardConfig = field(default_factory=TensorBoardConfig)
    mlflow: MlflowConfig = field(default_factory=MlflowConfig)
    wandb: WandbConfig = field(default_factory=WandbConfig)
    patience: float = key(
        30.0,
        "Seconds that a command waits at its end until everything is sent; 'biotune resume DIR' sends the rest.",
        ge=0,
        le=86_400,
    )

    @property
    def chosen(self) -> tuple[str, ...]:
        """The names of the trackers that are enabled."""
        return tuple(name for name in TRACKERS if getattr(self, name).enabled)


TRACKERS = tuple(item.name for item in fields(TrackerConfig) if item.name != "patience")
