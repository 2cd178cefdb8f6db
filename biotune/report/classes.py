"""The confusion matrix of the final model, and its most confident mistakes on the test set."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.patches import Rectangle

from biotune.datasets.images import open_image, to_rgb
from biotune.report.mistakes import surest_mistakes
from biotune.report.read import Run
from biotune.report.style import MUTED, NARROW, VERMILION, Drawing, drawable, figure_with_axes, finish
from biotune.report.thumbnails import draft, thumbnail
from biotune.store.files import MISTAKES

_LONGEST_NAME = 12
_MOST_NAMED, _MOST_COUNTED, _MOST_DRAWN = 24, 16, 40


@dataclass(frozen=True)
class Mistake:
    """A wrongly classified test image.

    Attributes:
        image: Its name.
        true: Its class.
        predicted: The predicted class.
        probability: The probability of the predicted class, in [0, 1].
        thumbnail: A data URI, if the image was found.
    """

    image: str
    true: str
    predicted: str
    probability: float
    thumbnail: str | None


def class_names(run: Run) -> tuple[str, ...]:
    """The model's classes, followed by other classes that the predictions name."""
    seen = [*run.predictions["true_class"], *run.predictions["predicted_class"]]
    return tuple(dict.fromkeys([*run.classes, *seen]))


def named_by_number(classes: tuple[str, ...]) -> bool:
    """Whether the plot's axes number the classes, because the names are too many, too long or not in the font."""
    return len(classes) > _MOST_NAMED or any(len(name) > _LONGEST_NAME or not drawable(name) for name in classes)


def confusions(run: Run) -> list[tuple[str, str, int, int]]:
    """Pairs of true and predicted class, with count and number of images of the true class; the most frequent first."""
    table = run.predictions
    wrong = table[table["true_class"] != table["predicted_class"]]
    counts = Counter(zip(wrong["true_class"], wrong["predicted_class"], strict=True))
    totals = Counter(table["true_class"])
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(true, predicted, count, totals[true]) for (true, predicted), count in ranked]


def worst(run: Run) -> list[Mistake]:
    """The most confident mistakes of the model.

    Each has a thumbnail of the image that the run has kept; runs of earlier versions kept none that has a file below
    `dataset.root`, and these are read from there if they still exist.
    """
    wrong = surest_mistakes(run.predictions)
    root = run.config.get("dataset", {}).get("root")
    folder = Path(str(root)).expanduser() if root else None
    return [
        Mistake(
            image,
            true,
            predicted,
            float(probability),
            _thumbnail(run.folder / MISTAKES / f"{row}.png") or _thumbnail(folder / image if folder else None),
        )
        for row, image, true, predicted, probability in wrong[
            ["picture", "true_class", "predicted_class", "probability"]
        ].itertuples(name=None)
    ]


def _thumbnail(file: Path | None) -> str | None:
    """A small image as a data URI; None if the file is missing or not an image."""
    try:
        if file is None or not file.is_file():
            return None
        with open_image(file) as opened:
            draft(opened)
            return thumbnail(to_rgb(opened))
    except Exception:  # Pillow raises errors of any type on a broken file; the page works without the image
        return None


def draw_confusion(run: Run) -> Drawing:
    """Draw the confusion matrix, one row per true class: correct predictions grey, mistakes vermilion, darker for more."""
    classes = class_names(run)
    place = {name: index for index, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    table = run.predictions
    np.add.at(counts, (table["true_class"].map(place), table["predicted_class"].map(place)), 1)
    numbered = named_by_number(classes)
    side = 0.42 if numbered else 0.16 + 0.072 * max(map(len, classes))
    inner = NARROW - side - 0.25 - 0.15
    margins = {"left": side + 0.25, "right": 0.15, "bottom": 0.1, "top": side + 0.3}
    figure, axes = figure_with_axes(NARROW, inner + margins["bottom"] + margins["top"], margins)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rasterized = len(classes) > _MOST_DRAWN
    largest = max(float((shares - np.diag(np.diag(shares))).max()), 1e-9)
    size = max(1.0, len(classes) / 70)  # so that single cells stay visible among hundreds
    for row, column in zip(*np.nonzero(counts), strict=True):
        share = shares[row, column]
        colour = MUTED if row == column else VERMILION
        strength = 0.05 + 0.25 * share if row == column else 0.15 + 0.65 * share / largest
        patch = Rectangle((column - size / 2, row - size / 2), size, size, facecolor=colour, alpha=strength, linewidth=0)
        axes.add_patch(patch).set_rasterized(rasterized)
        if len(classes) <= _MOST_COUNTED:
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=7.5)
    axes.set(xlim=(-0.5, len(classes) - 0.5), ylim=(len(classes) - 0.5, -0.5))
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    every = 1 if len(classes) <= _MOST_NAMED else 10 * max(1, round(len(classes) / 100))
    ticks = range(0, len(classes), every)
    labels = [str(at + 1) if numbered else classes[at] for at in ticks]
    upright = not numbered and max(map(len, classes)) > 2
    axes.set_xticks(ticks, labels, rotation=90 if upright else 0, fontsize=8)
    axes.set_yticks(ticks, labels, fontsize=8)
    axes.tick_params(length=0 if every == 1 else 3)
    axes.spines[:].set_visible(True)
    if len(classes) <= _MOST_NAMED:
        edges = np.arange(len(classes) - 1) + 0.5
        axes.set_xticks(edges, minor=True)
        axes.set_yticks(edges, minor=True)
        axes.grid(which="minor")
        axes.tick_params(which="minor", length=0)
    right = int(np.trace(counts))
    return finish(figure, "confusion", f"Confusion matrix of {len(classes)} classes: {right} of {counts.sum()} images right")
