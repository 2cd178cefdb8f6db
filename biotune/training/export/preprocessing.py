"""What a program without biotune must do to an image, and to the logits that a model gives it, as a JSON file states it."""

from __future__ import annotations

from typing import Any

from biotune.training.model import Model

FORMAT = 1


def preprocessing_facts(model: Model) -> dict[str, Any]:
    """The content of `preprocessing.json`: the steps of `Model.prepare` in numbers, the classes in the order of the logits.

    `resize` and `crop` are numbers for square images, else [height, width], see `Preprocessing`. The logits of every format are
    the network's own; divided by `temperature` their softmax is what `biotune predict` shows.
    """
    stated = model.preprocessing
    return {
        "format": FORMAT,
        "resize": stated.resize,
        "crop": stated.crop,
        "interpolation": stated.interpolation,
        "channels": "RGB",
        "rescale_factor": 1 / 255,
        "mean": list(stated.mean),
        "std": list(stated.std),
        "value_range": None if model.value_range is None else list(model.value_range),
        "classes": list(model.classes),
        "temperature": model.temperature,
    }
