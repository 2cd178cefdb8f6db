"""A run's final model: keep, choose, load and use it; all of this needs only the run's folder."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from biotune.backbones.fitting import load_weights
from biotune.backbones.network import Preprocessing, main_output
from biotune.backbones.registry import build_network
from biotune.config.sections import BackboneConfig
from biotune.datasets.images import ValueRange, bombs_refused, images_below, prepare
from biotune.errors import DataError, RunFolderError, one_line
from biotune.store.files import MODEL, MODEL_FACTS, PREDICTIONS, UNFINISHED, write_table, write_whole
from biotune.training.device import resolve_device

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from biotune.datasets.data import Data

MODEL_FORMAT = 1


def kept_model(folder: Path, name: str) -> Path:
    """Path of a trial's kept model until the final model is chosen."""
    return folder / f".kept-{name}.safetensors"


def kept_predictions(folder: Path, name: str) -> Path:
    """Path of a trial's kept test predictions until the final model is chosen."""
    return folder / f".kept-{name}.csv"


def keep_model(folder: Path, name: str, state: Mapping[str, Tensor], data: Data, probabilities: np.ndarray) -> None:
    """Keep a trained model and its test predictions.

    Args:
        folder: The run's folder.
        name: A name that is unique among the kept models of the folder.
        state: The state dict.
        data: The dataset, for names and classes.
        probabilities: (tests, classes) predicted probabilities.
    """
    from safetensors.torch import save

    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    content = save(tensors)
    write_whole(kept_model(folder, name), lambda file: file.write(content))
    predicted = probabilities.argmax(1)
    write_table(
        kept_predictions(folder, name),
        (
            {
                "picture": data.names[row],
                "true_class": data.classes[data.labels[row]],
                "predicted_class": data.classes[guess],
                "probability": float(probabilities[position, guess]),
            }
            for position, (row, guess) in enumerate(zip(data.test, predicted, strict=True))
        ),
    )


def choose_model(folder: Path, chosen: str) -> None:
    """Make one kept model the run's final model; the copy stays until `forget_kept`, so that a kill in between is harmless.

    Args:
        folder: The run's folder.
        chosen: The name under which it was kept.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    for source, target in ((kept_model(folder, chosen), MODEL), (kept_predictions(folder, chosen), PREDICTIONS)):
        try:
            with source.open("rb") as file:
                write_whole(folder / target, partial(shutil.copyfileobj, file))
        except OSError as error:
            raise RunFolderError(f"{source}: cannot be read ({error.strerror}).") from error


def is_kept(folder: Path, name: str) -> bool:
    """Whether a model and its predictions are kept under a name."""
    return kept_model(folder, name).is_file() and kept_predictions(folder, name).is_file()


def model_origin(folder: Path) -> str | None:
    """Key of the trial that a folder's final model comes from; None if there is no complete final model."""
    try:
        facts = json.loads((folder / MODEL_FACTS).read_text(encoding="utf-8"))
        whole = (folder / MODEL).is_file() and (folder / PREDICTIONS).is_file()
        return str(facts["training"]) if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def forget_kept(folder: Path) -> None:
    """Remove all kept models and the unfinished files of killed processes."""
    for file in [*folder.glob(".kept-*"), *folder.glob(f".*{UNFINISHED}*")]:
        file.unlink(missing_ok=True)


_BATCH = 64


@dataclass
class Model:
    """A trained network with its preprocessing and class names.

    Attributes:
        module: Takes (N, 3, H, W) normalised float images, returns (N, classes) logits; in eval mode.
        preprocessing: The resizing, cropping and normalisation of images.
        classes: Names of the classes.
        device: The device that holds the network.
        value_range: The values that become black and white in images of more than 8 bits, as in training; None is the range of
            their type.
    """

    module: nn.Module
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    device: torch.device
    value_range: ValueRange | None = None

    def prepare(self, image: Image.Image) -> Tensor:
        """Resize, crop and normalise an image into the network's input, (3, H, W) float."""
        pixels = np.array(prepare(image, self.preprocessing, self.value_range))
        return self.preprocessing.normalise(torch.from_numpy(pixels)[None])[0]

    @torch.inference_mode()
    def probabilities(self, files: Sequence[str | os.PathLike[str]]) -> Tensor:
        """Classify image files.

        Args:
            files: N paths of images.

        Returns:
            (N, classes) float probabilities.

        Raises:
            DataError: A file cannot be decoded.
        """
        parts = []
        for start in range(0, len(files), _BATCH):
            batch = torch.stack([self._open(Path(file)) for file in files[start : start + _BATCH]])
            parts.append(main_output(self.module(batch.to(self.device))).double().softmax(1).cpu())
        return torch.cat(parts) if parts else torch.empty(0, len(self.classes), dtype=torch.float64)

    def _open(self, file: Path) -> Tensor:
        try:
            with bombs_refused(), Image.open(file) as image:
                return self.prepare(image)
        except Exception as error:  # Pillow's decoders raise errors of any type on malformed files
            raise DataError(f"{file}: cannot be decoded ({one_line(error)}).") from error


def load_model(folder: str | os.PathLike[str], device: str = "cpu") -> Model:
    """Load the final model of a run.

    Args:
        folder: The run's folder, or any folder that holds its `model.json` and `model.safetensors`.
        device: auto, cpu, cuda, cuda:INDEX or mps.

    Raises:
        RunFolderError: The folder holds no final model, or one of another format.
        BackboneError: The network is not registered, for example because its plugin has not been imported.
    """
    place = Path(folder)
    try:
        facts = json.loads((place / MODEL_FACTS).read_text(encoding="utf-8"))
        state = load_file(place / MODEL)
    except (OSError, ValueError, SafetensorError) as error:
        raise RunFolderError(f"{place}: holds no final model ({one_line(error)}). Has the run finished?") from error
    if not isinstance(facts, dict) or facts.get("format") != MODEL_FORMAT:
        raise RunFolderError(f"{place / MODEL_FACTS}: is of another format; this biotune reads format {MODEL_FORMAT}.")
    try:
        return _built(place, facts, state, resolve_device(device))
    except (KeyError, TypeError, AttributeError) as error:
        raise RunFolderError(f"{place / MODEL_FACTS}: is damaged ({type(error).__name__}: {one_line(error)}).") from error


def _built(place: Path, facts: dict[str, Any], state: dict[str, Tensor], target: torch.device) -> Model:
    origin = BackboneConfig(library=facts["backbone"]["library"], name=facts["backbone"]["name"], weights="none")
    network = build_network(origin, len(facts["classes"]))
    remedy = "Load it with the versions of biotune, torchvision and timm, and the plugins, that the run used."
    load_weights(network.module, state, None, str(place / MODEL), remedy)
    stated = facts["preprocessing"]
    resize, crop = (sides if isinstance(sides, int) else tuple(sides) for sides in (stated["resize"], stated["crop"]))
    preprocessing = Preprocessing(resize, crop, tuple(stated["mean"]), tuple(stated["std"]), stated["interpolation"])
    limits = facts.get("value_range")  # absent where the type's range was used
    value_range = None if limits is None else (float(limits[0]), float(limits[1]))
    return Model(network.module.to(target).eval(), preprocessing, tuple(facts["classes"]), target, value_range)


def image_files(paths: Iterable[str]) -> list[Path]:
    """List the given files, and the images below the given folders, in order.

    Raises:
        DataError: A path does not exist, or there is no image at all.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            files += images_below(path)
        elif path.is_file():
            files.append(path)
        else:
            raise DataError(f"{path}: no such file or folder.")
    if not files:
        raise DataError("there is no image to classify.")
    return files
