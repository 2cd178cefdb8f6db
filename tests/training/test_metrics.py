"""Scores by hand and against torchmetrics', an implementation that shares no code with the one at work."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn import metrics
from torchmetrics.functional import classification

from biotune.training.metrics import macro_accuracy, score_predictions, unbiased_accuracy


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("classes", "present"), [(2, 2), (7, 7), (12, 5), (200, 150)])
def test_macro_accuracy_is_balanced_accuracy(classes: int, present: int, seed: int) -> None:
    rng = np.random.default_rng([seed, classes])
    labels = rng.choice(classes, size=present, replace=False)[rng.integers(0, present, 400)]
    # right half of the time; the other guesses may fall on classes that have no image
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


def softmax_outputs(seed: int, images: int, classes: int) -> tuple[torch.Tensor, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(images) % classes)
    logits = rng.normal(size=(images, classes)) + 1.5 * np.eye(classes)[labels]
    return torch.from_numpy(logits).softmax(1), labels


def independent(probabilities: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    classes, predicted = probabilities.shape[1], probabilities.argmax(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = {
            "macro_accuracy": metrics.balanced_accuracy_score(labels, predicted),
            "accuracy": classification.multiclass_accuracy(predicted, labels, classes, average="micro"),
            "average_precision": classification.multiclass_average_precision(probabilities, labels, classes),
            "kappa": classification.multiclass_cohen_kappa(predicted, labels, classes),
            "f1": classification.multiclass_f1_score(predicted, labels, classes, average="macro"),
        }
        if classes == 2:
            scores["roc_auc"] = classification.binary_auroc(probabilities[:, 1], labels)
    return {name: float(value) for name, value in scores.items()}


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("seed", [0, 1])
def test_test_scores_are_those_of_another_library(classes: int, seed: int) -> None:
    probabilities, labels = softmax_outputs(seed, 300, classes)
    truth = torch.from_numpy(labels)
    assert score_predictions(probabilities, truth) == pytest.approx(independent(probabilities, truth), abs=1e-6)


def test_test_scores_by_hand() -> None:
    # classes 0, 0, 1, 1; the third image is taken for class 0
    probabilities = torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.6, 0.4], [0.2, 0.8]], dtype=torch.float64)
    scores = score_predictions(probabilities, torch.tensor([0, 0, 1, 1]))
    assert scores == pytest.approx(
        {
            "macro_accuracy": 0.75,
            "accuracy": 0.75,
            "average_precision": 1.0,  # every image of a class stands before all others in its ranking
            "kappa": 0.5,  # 0.75 observed, 0.5 by chance
            "f1": (0.8 + 2 / 3) / 2,
            "roc_auc": 1.0,
        }
    )


def test_a_class_without_test_images_leaves_every_score_a_number() -> None:
    probabilities, labels = softmax_outputs(3, 300, 6)
    kept = labels != 4
    probabilities, truth = probabilities[torch.from_numpy(kept)], torch.from_numpy(labels[kept])
    found = score_predictions(probabilities, truth)
    assert all(np.isfinite(value) for value in found.values())
    expected = independent(probabilities, truth)
    assert {name: found[name] for name in ("macro_accuracy", "average_precision", "kappa", "f1")} == pytest.approx(
        {name: expected[name] for name in ("macro_accuracy", "average_precision", "kappa", "f1")}, abs=1e-6
    )


def test_perfect_predictions_score_one_everywhere() -> None:
    labels = torch.tensor([0, 1, 1, 0, 1])
    scores = score_predictions(torch.eye(2, dtype=torch.float64)[labels], labels)
    assert scores == pytest.approx(dict.fromkeys(scores, 1.0))
    assert set(scores) == {"macro_accuracy", "accuracy", "average_precision", "kappa", "f1", "roc_auc"}


def test_the_unbiased_score_lets_each_half_be_scored_at_the_epoch_that_the_other_chooses() -> None:
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])  # halves: images 0, 2, 4, 6 and 1, 3, 5, 7
    epochs = torch.tensor(
        [
            [0, 1, 0, 0, 1, 1, 1, 1],  # first half 1.0, second half 0.75
            [0, 0, 1, 0, 1, 1, 0, 0],  # first half 0.5, second half 0.75
            [0, 0, 0, 0, 0, 1, 0, 1],  # first half 0.5, second half 1.0
        ]
    )
    # the first half chooses epoch 0, where the second has 0.75; the second chooses epoch 2, where the first has 0.5
    assert unbiased_accuracy(epochs, labels, 2) == pytest.approx((0.75 + 0.5) / 2)


def test_the_unbiased_score_of_guesses_is_chance_however_many_epochs_there_are() -> None:
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(np.repeat([0, 1], 20))
    guesses = [torch.from_numpy(rng.integers(0, 2, (30, 40))) for _ in range(200)]
    assert np.mean([unbiased_accuracy(one, labels, 2) for one in guesses]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([max(macro_accuracy(epoch, labels, 2) for epoch in one) for one in guesses]) > 0.6


def test_a_single_image_is_scored_at_the_last_epoch() -> None:
    assert unbiased_accuracy(torch.tensor([[0], [1]]), torch.tensor([1]), 2) == 1.0
