"""A run's final model: keep, choose, load and use it; all of this needs only the run's folder."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
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
from biotune.datasets.images import ValueRange, bombs_refused, image_names, open_image, prepare
from biotune.datasets.parallel import in_parallel
from biotune.errors import DataError, RunFolderError, one_line
from biotune.store.files import MODEL, MODEL_FACTS, PREDICTIONS, UNFINISHED, write_table, write_whole
from biotune.training.device import resolve_device
from biotune.training.ensemble import Ensemble

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from biotune.backbones.network import Network
    from biotune.config.schema import TrialsConfig
    from biotune.datasets.data import Data
    from biotune.trial import Trial

PLAIN, MADE = 1, 2  # formats: one network as it was trained, and one with members or a temperature


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


def member_name(at: int) -> str:
    """The beginning of the names of an ensemble's member in the file of its weights."""
    return f"members.{at}."


def facts_of_model(
    config: TrialsConfig, network: Network, data: Data, trial: Trial, members: int = 1, temperature: float | None = None
) -> dict[str, Any]:
    """The content of `model.json`: what is needed to use a final model, and where it comes from.

    Args:
        config: The settings of the run.
        network: The backbone.
        data: The dataset.
        trial: The final training run that left the model, or of several the best one.
        members: Number of networks of an ensemble; 1 for a single network.
        temperature: What the logits are divided by; None leaves them as they are.
    """
    made = members > 1 or temperature is not None
    return {
        "format": MADE if made else PLAIN,
        "backbone": {"library": config.backbone.library, "name": config.backbone.name},
        "classes": list(data.classes),
        "preprocessing": asdict(network.preprocessing.scaled_to(config.dataset.sides)),
        **({} if data.value_range is None else {"value_range": data.value_range}),
        **({} if members == 1 else {"members": members}),
        **({} if temperature is None else {"temperature": temperature}),
        "seed": trial.seed,
        "training": trial.key,
    }


def forget_kept(folder: Path) -> None:
    """Remove all kept models and the unfinished files of killed processes."""
    for file in [*folder.glob(".kept-*"), *folder.glob(f".*{UNFINISHED}*")]:
        file.unlink(missing_ok=True)


BATCH = 64  # images
TTA = ("none", "flip")


@dataclass
class Model:
    """A trained network with its preprocessing and class names.

    Attributes:
        module: Takes (N, 3, H, W) normalised float images, returns (N, classes) logits; in eval mode. An ensemble's
            returns the logarithms of the averaged probabilities.
        preprocessing: The resizing, cropping and normalisation of images.
        classes: Names of the classes.
        device: The device that holds the network.
        value_range: The values that become black and white in images of more than 8 bits, as in training; None is the range of
            their type.
        temperature: What the logits are divided by, so that probabilities are calibrated.
    """

    module: nn.Module
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    device: torch.device
    value_range: ValueRange | None = None
    temperature: float = 1.0

    def prepare(self, image: Image.Image) -> Tensor:
        """Resize, crop and normalise an image into the network's input, (3, H, W) float."""
        pixels = np.array(prepare(image, self.preprocessing, self.value_range))
        return self.preprocessing.normalise(torch.from_numpy(pixels)[None])[0]

    def probabilities(self, files: Sequence[str | os.PathLike[str]], batch_size: int = BATCH, tta: str = TTA[0]) -> Tensor:
        """Classify image files.

        Args:
            files: N paths of images.
            batch_size: Images that are computed at once; affects speed and memory.
            tta: none, or flip, which averages the probabilities of each image and its mirror image.

        Returns:
            (N, classes) float probabilities.

        Raises:
            DataError: A file cannot be decoded.
        """
        parts = []
        for _, found in self.classified(map(Path, files), batch_size, tta):
            if isinstance(found, DataError):
                raise found
            parts.append(found)
        return torch.stack(parts) if parts else torch.empty(0, len(self.classes), dtype=torch.float64)

    def classified(
        self, files: Iterable[Path], batch_size: int = BATCH, tta: str = TTA[0]
    ) -> Iterator[tuple[Path, Tensor | DataError]]:
        """Classify image files one mini-batch after the other, each decoded in threads; no more than one is held in memory.

        Args:
            files: Paths of images, drawn as they are needed.
            batch_size: Images of a mini-batch, at least 1.
            tta: none, or flip, which averages the probabilities of each image and its mirror image.

        Yields:
            Each path with its (classes,) probabilities, or with the error of an image that cannot be decoded; in order.
        """
        remaining = iter(files)
        while batch := list(islice(remaining, batch_size)):
            with bombs_refused():
                opened = [found for _, found in in_parallel(lambda row: self._open(batch[row]), len(batch))]  # noqa: B023
            images = [found for found in opened if isinstance(found, Tensor)]
            rows = iter(self._computed(torch.stack(images), tta) if images else ())
            for file, found in zip(batch, opened, strict=True):
                if isinstance(found, Tensor):
                    yield file, next(rows)
                else:
                    yield file, DataError(f"{file}: cannot be decoded ({one_line(found)}).")

    @torch.inference_mode()
    def _computed(self, images: Tensor, tta: str) -> Tensor:
        """(N, classes) probabilities of (N, 3, H, W) images."""
        views = [images, images.flip(3)] if tta == "flip" else [images]
        logits = [main_output(self.module(view.to(self.device))).cpu().double() for view in views]
        if len(logits) > 1:
            logits = [torch.stack([one.softmax(1) for one in logits]).mean(0).log()]
        return (logits[0] / self.temperature).softmax(1)

    def _open(self, file: Path) -> Tensor:
        with open_image(file) as image:
            return self.prepare(image)


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
        missing = [name for name in (MODEL_FACTS, MODEL) if not (place / name).is_file()]
        reason = f"it has no {missing[0]}" if missing else one_line(error)
        raise RunFolderError(f"{place}: holds no final model ({reason}). Has the run finished?") from error
    if not isinstance(facts, dict) or facts.get("format") not in (PLAIN, MADE):
        raise RunFolderError(f"{place / MODEL_FACTS}: is of another format; this biotune reads formats {PLAIN} and {MADE}.")
    try:
        return _built(place, facts, state, resolve_device(device))
    except (KeyError, TypeError, AttributeError) as error:
        raise RunFolderError(f"{place / MODEL_FACTS}: is damaged ({type(error).__name__}: {one_line(error)}).") from error


def _built(place: Path, facts: dict[str, Any], state: dict[str, Tensor], target: torch.device) -> Model:
    origin = BackboneConfig(library=facts["backbone"]["library"], name=facts["backbone"]["name"], weights="none")
    remedy = "Load it with the versions of biotune, torchvision and timm, and the plugins, that the run used."
    members = []
    for at in range(facts.get("members", 1)):
        own = _of_member(state, at) if "members" in facts else state
        network = build_network(origin, len(facts["classes"]))
        load_weights(network.module, own, None, str(place / MODEL), remedy)
        members.append(network.module)
    module = members[0] if len(members) == 1 else Ensemble(members)
    stated = facts["preprocessing"]
    resize, crop = (sides if isinstance(sides, int) else tuple(sides) for sides in (stated["resize"], stated["crop"]))
    preprocessing = Preprocessing(resize, crop, tuple(stated["mean"]), tuple(stated["std"]), stated["interpolation"])
    limits = facts.get("value_range")  # absent where the type's range was used
    value_range = None if limits is None else (float(limits[0]), float(limits[1]))
    temperature = float(facts.get("temperature", 1.0))
    return Model(module.to(target).eval(), preprocessing, tuple(facts["classes"]), target, value_range, temperature)


def _of_member(state: Mapping[str, Tensor], at: int) -> dict[str, Tensor]:
    start = member_name(at)
    return {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}


def image_files(paths: Sequence[str]) -> Iterator[Path]:
    """The given files, and the images below the given folders, in order; folders are walked as the images are drawn.

    Raises:
        DataError: A path does not exist, before anything is drawn; or there is no image at all.
    """
    for path in map(Path, paths):
        if not path.exists():
            raise DataError(f"{path}: no such file or folder.")
    return _walked(paths)


def _walked(paths: Sequence[str]) -> Iterator[Path]:
    empty = True
    for path in map(Path, paths):
        for file in (path / name for name in image_names(path)) if path.is_dir() else [path]:
            empty = False
            yield file
    if empty:
        raise DataError("there is no image to classify.")
