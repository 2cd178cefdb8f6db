"""Scores against scikit-learn's."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn import metrics

from biotune.scores import macro_accuracy, test_scores


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("classes", "present"), [(2, 2), (7, 7), (12, 5), (200, 150)])
def test_macro_accuracy_is_balanced_accuracy(classes: int, present: int, seed: int) -> None:
    rng = np.random.default_rng([seed, classes])
    labels = rng.choice(classes, size=present, replace=False)[rng.integers(0, present, 400)]
    # right half of the time; the other guesses may fall on classes that have no picture
    predicted = np.where(rng.random(400) < 0.5, labels, rng.integers(0, classes, 400))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = metrics.balanced_accuracy_score(labels, predicted)
    found = macro_accuracy(torch.from_numpy(predicted), torch.from_numpy(labels), classes)
    assert found == pytest.approx(expected, abs=1e-12)


def test_macro_accuracy_counts_every_class_the_same() -> None:
    labels = torch.tensor([0] * 98 + [1, 1])
    assert macro_accuracy(torch.zeros(100, dtype=torch.int64), labels, 2) == 0.5
    # by hand: recalls 1, 1/2 and 0; class 3 never occurs
    assert macro_accuracy(torch.tensor([0, 1, 3, 0]), torch.tensor([0, 1, 1, 2]), 4) == pytest.approx(0.5)


def softmax_outputs(seed: int, pictures: int, classes: int) -> tuple[torch.Tensor, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(pictures) % classes)
    logits = rng.normal(size=(pictures, classes)) + 1.5 * np.eye(classes)[labels]
    return torch.from_numpy(logits).softmax(1), labels


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("seed", [0, 1])
def test_test_scores_are_scikit_learns(classes: int, seed: int) -> None:
    probabilities, labels = softmax_outputs(seed, 300, classes)
    predicted, one_hot = probabilities.argmax(1).numpy(), np.eye(classes)[labels]
    expected = {
        "macro_accuracy": metrics.balanced_accuracy_score(labels, predicted),
        "accuracy": metrics.accuracy_score(labels, predicted),
        "average_precision": metrics.average_precision_score(one_hot, probabilities.numpy(), average="macro"),
        "kappa": metrics.cohen_kappa_score(labels, predicted),
        "f1": metrics.f1_score(labels, predicted, average="macro"),
    }
    if classes == 2:
        expected["roc_auc"] = metrics.roc_auc_score(labels, probabilities[:, 1].numpy())
    assert test_scores(probabilities, torch.from_numpy(labels)) == pytest.approx(expected, abs=1e-6)


def test_a_class_without_test_pictures_leaves_every_score_a_number() -> None:
    probabilities, labels = softmax_outputs(3, 300, 6)
    kept = labels != 4
    probabilities, labels = probabilities[torch.from_numpy(kept)], labels[kept]
    predicted = probabilities.argmax(1).numpy()
    found = test_scores(probabilities, torch.from_numpy(labels))
    assert all(np.isfinite(value) for value in found.values())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert found["macro_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(labels, predicted))
    there = [0, 1, 2, 3, 5]
    one_hot = np.eye(6)[labels][:, there]
    expected = metrics.average_precision_score(one_hot, probabilities.numpy()[:, there], average="macro")
    assert found["average_precision"] == pytest.approx(expected, abs=1e-6)


def test_perfect_predictions_score_one_everywhere() -> None:
    labels = torch.tensor([0, 1, 1, 0, 1])
    scores = test_scores(torch.eye(2, dtype=torch.float64)[labels], labels)
    assert scores == pytest.approx(dict.fromkeys(scores, 1.0))
    assert set(scores) == {"macro_accuracy", "accuracy", "average_precision", "kappa", "f1", "roc_auc"}
