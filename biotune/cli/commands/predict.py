"""`biotune predict DIR IMAGE…`: classifies images with a run's final model."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biotune.cli.arguments import Parser
from biotune.cli.terminal.output_mode import OutputMode
from biotune.cli.terminal.view import Cell, View
from biotune.config.plugins import load_plugins
from biotune.errors import ConfigError, DataError
from biotune.store.files import check_writable, write_table

if TYPE_CHECKING:
    from biotune.training.model import Model


def predict_parser() -> Parser:
    """Return the parser of the words after `biotune predict`."""
    parser = Parser("biotune predict", description="Classify images with a run's final model.")
    parser.add_argument("folder", metavar="DIR", help="the run's folder")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="image files, or folders of images")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="also write all predictions to a CSV file")
    parser.add_argument("--top", type=int, default=3, help="number of classes to show per image (default: 3)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:INDEX or mps")
    parser.add_argument("--plugins", default="", help="modules to import first, separated by commas")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return parser


def predict(arguments: list[str]) -> int:
    """Print the most probable classes of every image with their probabilities; with --csv, write them to a file too.

    Args:
        arguments: The words after `biotune predict`.

    Returns:
        The exit status: 0, or 1 where an image cannot be decoded.

    Raises:
        BiotuneError: The arguments are wrong, the folder holds no model, or there is no image.
    """
    options = predict_parser().parse_args(arguments)
    if options.top < 1:
        raise ConfigError(f"--top {options.top}: must be at least 1.")
    load_plugins([name for name in options.plugins.split(",") if name])
    from biotune.training.model import image_files, load_model

    if options.csv and not os.path.isdir(options.csv.parent):
        raise ConfigError(f"--csv {options.csv}: {options.csv.parent} is not a folder.")
    if options.csv:
        check_writable(options.csv)
    model = load_model(options.folder, options.device)
    rows, broken = _classified(model, image_files(options.images), options.top)
    cells = [
        [
            Cell(row["picture"], str(row["picture"]) if row["rank"] == 1 else ""),
            row["class"],
            Cell(row["probability"], f"{row['probability']:.4f}"),
        ]
        for row in rows
    ]
    count = sum(row["rank"] == 1 for row in rows)
    with View(mode=OutputMode.JSON if options.json else OutputMode.NORMAL) as view:
        view.table(f"{count} images", ["picture", "class", "probability"], cells, "predictions", {"picture": "image"})
    if options.csv:
        write_table(options.csv, rows)
    for line in broken:
        print(f"biotune: {line}", file=sys.stderr)
    return 1 if broken else 0


def _classified(model: Model, files: Sequence[Path], top: int) -> tuple[list[dict[str, Any]], list[str]]:
    """One row per image and class, most probable class first, and one message per image that cannot be decoded."""
    rows, broken = [], []
    for file in files:
        try:
            probabilities = model.probabilities([file])[0]
        except DataError as error:
            broken.append(str(error))
            continue
        best, classes = probabilities.topk(min(top, len(model.classes)))
        pairs = zip(classes.tolist(), best.tolist(), strict=True)
        rows += [
            {"picture": str(file), "rank": rank, "class": model.classes[label], "probability": value}
            for rank, (label, value) in enumerate(pairs, 1)
        ]
    return rows, broken
