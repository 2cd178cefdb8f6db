"""Calibration and scores of each class, against other libraries and by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix

from biotune.report.quality import Bin, calibration_error, class_rows, reliability


def test_the_calibration_error_by_hand() -> None:
    confidences = np.array([0.95, 0.97, 0.5, 0.52, 0.53, 1 / 15])
    right = np.array([True, False, True, False, False, False])
    bins = reliability(confidences, right)
    assert bins[0] == Bin(1, 1 / 15, 0.0), "a bin holds its upper bound"
    assert bins[7] == Bin(3, pytest.approx(1.55 / 3), pytest.approx(1 / 3))
    assert bins[14] == Bin(2, pytest.approx(0.96), 0.5)
    assert [place for place, one in enumerate(bins) if one is not None] == [0, 7, 14]
    expected = (1 / 6) * (1 / 15) + (3 / 6) * (1.55 / 3 - 1 / 3) + (2 / 6) * 0.46
    assert calibration_error(confidences, right) == pytest.approx(expected)


def test_the_calibration_error_is_that_of_torchmetrics() -> None:
    functional = pytest.importorskip("torchmetrics.functional.classification")
    import torch

    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(5, 0.4), 4000)
    labels = rng.integers(0, 5, 4000)
    expected = functional.multiclass_calibration_error(
        torch.from_numpy(probabilities), torch.from_numpy(labels), num_classes=5, n_bins=15, norm="l1"
    )
    own = calibration_error(probabilities.max(1), probabilities.argmax(1) == labels)
    assert own == pytest.approx(float(expected), abs=1e-6)


def test_scores_of_a_class_follow_from_the_confusion_matrix() -> None:
    rng = np.random.default_rng(1)
    names = ["null", "a", "b", "never predicted", "no images"]
    truth = rng.choice(names[:4], 300)
    guessed = np.where(rng.uniform(size=300) < 0.6, truth, "a")
    guessed[guessed == "never predicted"] = "no images"
    rows = {row["class"]: row for row in class_rows(pd.DataFrame({"true_class": truth, "predicted_class": guessed}), names)}
    assert list(rows) == names
    counts = confusion_matrix(truth, guessed, labels=names)
    for at, name in enumerate(names[:3]):
        precision, recall = counts[at, at] / counts[:, at].sum(), counts[at, at] / counts[at].sum()
        assert rows[name]["precision"] == pytest.approx(precision)
        assert rows[name]["recall"] == pytest.approx(recall)
        assert rows[name]["f1"] == pytest.approx(2 * precision * recall / (precision + recall))
        assert rows[name]["support"] == counts[at].sum()
    never, absent = rows["never predicted"], rows["no images"]
    assert (never["precision"], never["recall"], never["f1"]) == (0, 0, 0)
    assert never["support"] == counts[3].sum() > 0
    assert absent == {"class": "no images", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
