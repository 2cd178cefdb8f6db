"""The final model's quality on the test set, from its predictions: calibration, and scores of each class. Without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

BINS = 15


@dataclass(frozen=True)
class Bin:
    """The images whose prediction has a confidence in one interval.

    Attributes:
        count: Number of images, at least 1.
        confidence: Their mean confidence.
        accuracy: The share of them that is classified right.
    """

    count: int
    confidence: float
    accuracy: float


def reliability(confidences: NDArray[np.float64], right: NDArray[np.bool_]) -> list[Bin | None]:
    """The images in fifteen bins of equal width over the confidence; None for an empty one.

    Source: Guo et al., *On calibration of modern neural networks*, ICML 2017, section 2: bin m is ((m − 1)/M, m/M].

    Args:
        confidences: (N,) probability of the predicted class, in [0, 1].
        right: (N,) whether the predicted class is the true one.
    """
    places = np.clip(np.ceil(confidences * BINS).astype(int) - 1, 0, BINS - 1)
    bins: list[Bin | None] = []
    for place in range(BINS):
        own = places == place
        bins.append(Bin(int(own.sum()), float(confidences[own].mean()), float(right[own].mean())) if own.any() else None)
    return bins


def calibration_error(confidences: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Expected calibration error: Σ_m |B_m|/N · |accuracy(B_m) − confidence(B_m)|, over the bins of `reliability`.

    Source: Naeini et al., *Obtaining well calibrated probabilities using Bayesian binning*, AAAI 2015; Guo et al., *On
    calibration of modern neural networks*, ICML 2017, equation 3.

    Args:
        confidences: (N,) probability of the predicted class, N ≥ 1.
        right: (N,) whether the predicted class is the true one.
    """
    found = [one for one in reliability(confidences, right) if one is not None]
    return sum(one.count * abs(one.accuracy - one.confidence) for one in found) / len(confidences)


def confidences_of(predictions: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The confidences (N,) of predictions, and whether each (N,) is right.

    Args:
        predictions: The rows of `predictions.csv`, one per test image.
    """
    right = predictions["true_class"] == predictions["predicted_class"]
    return predictions["probability"].to_numpy(dtype=np.float64), right.to_numpy(dtype=bool)


def class_rows(predictions: pd.DataFrame, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each class, and its number of test images, in the order of the classes.

    Where nothing is predicted as a class its precision is 0, and where it has no test images its recall is; F1 is 0 where
    both are.

    Args:
        predictions: The rows of `predictions.csv`, one per test image.
        classes: The model's classes.
    """
    from sklearn.metrics import precision_recall_fscore_support  # slow to import, needed once per run

    scores = precision_recall_fscore_support(
        predictions["true_class"], predictions["predicted_class"], labels=list(classes), zero_division=0
    )
    return [
        {"class": name, "precision": float(precision), "recall": float(recall), "f1": float(f1), "support": int(support)}
        for name, precision, recall, f1, support in zip(classes, *scores, strict=True)
    ]
