"""`biotune predict DIR IMAGE…`: classify files or folders with a run's final model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from biotune.cli.terminal.output_mode import OutputMode
from biotune.cli.terminal.view import Cell, View
from biotune.config.plugins import load_plugins
from biotune.errors import ConfigError, DataError
from biotune.store.files import write_table


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}. 'biotune predict --help' shows the usage.")


def predict(arguments: list[str]) -> int:
    """Print the best classes and their probabilities for every image, and write them to a CSV file if asked."""
    parser = _Parser(prog="biotune predict", description="Classify images with a run's final model.")
    parser.add_argument("folder", metavar="DIR", help="the run's folder")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="image files, or folders of images")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="also write all of it to a CSV file")
    parser.add_argument("--top", type=int, default=3, help="classes to show an image (default: 3)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:INDEX or mps")
    parser.add_argument("--plugins", default="", help="modules to import first, separated by commas")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args(arguments)
    if options.top < 1:
        raise ConfigError(f"--top {options.top}: must be at least 1.")
    load_plugins([name for name in options.plugins.split(",") if name])
    from biotune.training.model import image_files, load_model

    if options.csv and not options.csv.parent.is_dir():
        raise ConfigError(f"--csv {options.csv}: {options.csv.parent} is no folder.")
    model = load_model(options.folder, options.device)
    files, probabilities_of, broken = [], [], []
    for file in image_files(options.images):
        try:
            probabilities_of.append(model.probabilities([file])[0])
            files.append(file)
        except DataError as error:
            broken.append(str(error))
    rows = []
    for file, probabilities in zip(files, probabilities_of, strict=True):
        best, classes = probabilities.topk(min(options.top, len(model.classes)))
        pairs = zip(classes.tolist(), best.tolist(), strict=True)
        rows += [
            {"picture": str(file), "rank": rank, "class": model.classes[label], "probability": value}
            for rank, (label, value) in enumerate(pairs, 1)
        ]
    cells = [
        [
            Cell(row["picture"], str(row["picture"]) if row["rank"] == 1 else ""),
            row["class"],
            Cell(row["probability"], f"{row['probability']:.4f}"),
        ]
        for row in rows
    ]
    with View(mode=OutputMode.JSON if options.json else OutputMode.NORMAL) as view:
        view.table(f"{len(files)} images", ["picture", "class", "probability"], cells, name="predictions")
    if options.csv:
        write_table(options.csv, rows)
    for line in broken:
        print(f"biotune: {line}", file=sys.stderr)
    return 1 if broken else 0
