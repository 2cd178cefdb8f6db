"""`biotune predict DIR IMAGE…`: classifies images with a run's final model, as many as there are, a mini-batch at a time."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from biotune.cli.arguments import Parser
from biotune.cli.terminal.output_mode import OutputMode
from biotune.cli.terminal.view import Cell, View
from biotune.config.plugins import load_plugins
from biotune.errors import ConfigError, DataError
from biotune.store.files import check_writable, write_whole

if TYPE_CHECKING:
    from biotune.training.model import Model

COLUMNS = ("picture", "rank", "class", "probability")
STDOUT = "-"
_BLOCK = 1000  # images of which the table holds the rows before it prints them

Row = dict[str, Any]
Sink = Callable[[list[Row]], object]  # receives the rows of one image


def predict_parser() -> Parser:
    """Return the parser of the words after `biotune predict`."""
    parser = Parser("biotune predict", description="Classify images with a run's final model.")
    parser.add_argument("folder", metavar="DIR", help="the run's folder")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="image files, or folders of images")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="also write the predictions, of --top classes, to a CSV file")
    parser.add_argument(
        "--jsonl", metavar="FILE", help="write a line of JSON per image as soon as it is classified; - prints them instead"
    )
    parser.add_argument("--top", type=int, default=3, help="classes to show per image, also in files (default: 3)")
    parser.add_argument("--batch-size", type=int, default=64, help="images that are computed at once (default: 64)")
    parser.add_argument(
        "--tta",
        choices=("none", "flip"),
        default="none",
        help="flip averages the probabilities of image and mirror image",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:INDEX or mps")
    parser.add_argument("--plugins", default="", help="modules to import first, separated by commas")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return parser


def predict(arguments: list[str]) -> int:
    """Print the most probable classes of every image with their probabilities; with --csv or --jsonl, write them to files too.

    Args:
        arguments: The words after `biotune predict`.

    Returns:
        The exit status: 0, or 1 where an image cannot be decoded.

    Raises:
        BiotuneError: The arguments are wrong, the folder holds no model, or there is no image.
    """
    options = predict_parser().parse_args(arguments)
    _check(options)
    load_plugins([name for name in options.plugins.split(",") if name])
    from biotune.training.model import image_files, load_model

    model = load_model(options.folder, options.device)
    files = image_files(options.images)
    with ExitStack() as stack:
        sinks: list[Sink] = []
        if options.jsonl != STDOUT:
            sinks.append(stack.enter_context(_table(options.json)))
        if options.jsonl is not None:
            sinks.append(stack.enter_context(_lines(options.jsonl)))
        if options.csv is None:
            return _classify(options, model, files, sinks)
        broken = 0

        def write(file: IO[bytes]) -> None:
            nonlocal broken
            with _comma_separated(file) as sink:
                broken = _classify(options, model, files, [*sinks, sink])

        write_whole(options.csv, write)
        return broken


def _check(options: argparse.Namespace) -> None:
    """Check the arguments before anything is loaded."""
    for name, least in (("top", options.top), ("batch-size", options.batch_size)):
        if least < 1:
            raise ConfigError(f"--{name} {least}: must be at least 1.")
    if options.json and options.jsonl == STDOUT:
        raise ConfigError("--json and --jsonl - contradict each other; give one of them.")
    for name, file in (("csv", options.csv), ("jsonl", None if options.jsonl in (None, STDOUT) else Path(options.jsonl))):
        if file is not None:
            if not os.path.isdir(file.parent):
                raise ConfigError(f"--{name} {file}: {file.parent} is not a folder.")
            check_writable(file)


def _classify(options: argparse.Namespace, model: Model, files: Iterable[Path], sinks: Sequence[Sink]) -> int:
    """Classify the images, and hand each one's rows, most probable class first, to the sinks; 1 if one cannot be decoded."""
    broken = 0
    with _progress(options.images) as (console, advance):
        for file, found in model.classified(files, options.batch_size, options.tta):
            advance()
            if isinstance(found, DataError):
                broken = 1
                console.print(f"biotune: {found}", markup=False, highlight=False, soft_wrap=True)
                continue
            best, classes = found.topk(min(options.top, len(model.classes)))
            pairs = zip(classes.tolist(), best.tolist(), strict=True)
            rows = [
                {"picture": str(file), "rank": rank, "class": model.classes[label], "probability": value}
                for rank, (label, value) in enumerate(pairs, 1)
            ]
            for sink in sinks:
                sink(rows)
    return broken


@contextmanager
def _progress(paths: Sequence[str]) -> Iterator[tuple[Console, Callable[[], None]]]:
    """A progress bar on stderr where that is a terminal; yields its console, and what to call after each image."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield console, lambda: None
        return
    from biotune.training.model import image_files

    columns = (TextColumn("classifying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # what is printed on the same terminal goes above the bar; what is piped stays apart
    with Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as progress:
        # counted by a walk of its own, so that no list of all images is held
        task = progress.add_task("", total=sum(1 for _ in image_files(paths)))
        yield console, lambda: progress.advance(task)


@contextmanager
def _table(as_json: bool) -> Iterator[Sink]:
    """Print rows as a table, a thousand images at a time, or as one JSON object when all are known."""
    block: list[list[Row]] = []
    printed = 0

    def show(view: View) -> None:
        nonlocal printed
        whole = not printed and (as_json or len(block) < _BLOCK)
        title = f"{len(block)} images" if whole else f"images {printed + 1:,} to {printed + len(block):,}"
        cells = [
            [
                Cell(row["picture"], str(row["picture"]) if row["rank"] == 1 else ""),
                row["class"],
                Cell(row["probability"], f"{row['probability']:.4f}"),
            ]
            for rows in block
            for row in rows
        ]
        view.table(title, ["picture", "class", "probability"], cells, "predictions", {"picture": "image"})
        printed += len(block)
        block.clear()

    with View(mode=OutputMode.JSON if as_json else OutputMode.NORMAL) as view:

        def take(rows: list[Row]) -> None:
            block.append(rows)
            if len(block) == _BLOCK and not as_json:
                show(view)

        yield take
        if block or not printed:
            show(view)


@contextmanager
def _lines(place: str) -> Iterator[Sink]:
    """Write one JSON object a line and image, at once, so that another program can read along."""
    with ExitStack() as stack:
        out: IO[str] | None = None  # stdout, as it is when a line is printed: the progress bar may stand in for it
        if place != STDOUT:
            path = Path(place)
            out = stack.enter_context(path.open("w", buffering=1, encoding="utf-8", errors="surrogateescape", newline="\n"))

        def take(rows: list[Row]) -> None:
            classes = [{"class": row["class"], "probability": row["probability"]} for row in rows]
            print(json.dumps({"image": rows[0]["picture"], "classes": classes}, ensure_ascii=False), file=out)

        yield take


@contextmanager
def _comma_separated(file: IO[bytes]) -> Iterator[Sink]:
    """Write rows to a CSV file, which stays open."""
    text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    yield writer.writerows
    text.flush()
    text.detach()
