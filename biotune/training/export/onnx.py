"""ONNX, with torch's exporter that is based on `torch.export`, held against the network with ONNX Runtime."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from biotune.errors import ConfigError
from biotune.store.files import EXPORTED_MODEL
from biotune.training.export.check import Logits, example, largest_difference, refused
from biotune.training.model import Model

INPUT, OUTPUT = "images", "logits"
OPSET = 18  # the lowest that the exporter writes, for old runtimes
_NEEDED = ("onnx", "onnxscript", "onnxruntime")


def check_installed() -> None:
    """Check that the extra is installed.

    Raises:
        ConfigError: It is not.
    """
    if any(find_spec(name) is None for name in _NEEDED):
        raise ConfigError("--format onnx: needs the extra 'onnx': pip install 'biotune[onnx]'.")


def write(model: Model, folder: Path) -> float:
    """Write `model.onnx`, with mini-batches of any size; weights of more than 1.5 GB go into a second file beside it.

    Args:
        model: The model, on the CPU.
        folder: An existing folder.

    Returns:
        The largest difference of its logits, see `largest_difference`.

    Raises:
        BackboneError: The network cannot be exported, or the file gives other logits.
    """
    path = folder / EXPORTED_MODEL["onnx"]
    with refused("onnx", "cannot be made"), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # not what it does step by step
        program = torch.onnx.export(
            Logits(model.module).eval(),
            (example(model),),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=OPSET,
            verbose=False,
        )
        if program is None:
            raise RuntimeError("the exporter has returned nothing")
        program.save(path)
    return largest_difference(model, _session(path), "onnx")


def _session(path: Path) -> Callable[[Tensor], Tensor]:
    """The file as a function from images to logits."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with refused("onnx", "cannot be loaded"):
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])
