"""Quality of predictions: macro accuracy after each epoch on the validation set, all scores on the test set."""

import numpy as np
import torch
from torch import Tensor


def macro_accuracy(predicted: Tensor, labels: Tensor, num_classes: int) -> float:
    """Mean recall over the classes that occur in `labels`, in [0, 1].

    Args:
        predicted: (N,) int64 predicted classes.
        labels: (N,) int64 true classes, N ≥ 1.
        num_classes: Number of classes.
    """
    # counted by in-place addition: bincount and masks would each wait for the GPU once more
    counts = torch.zeros(2, num_classes, dtype=torch.int64, device=labels.device)
    counts[0].scatter_add_(0, labels, torch.ones_like(labels))
    counts[1].scatter_add_(0, labels, (predicted == labels).long())
    support, hits = counts.cpu()
    present = support > 0
    return float((hits[present].double() / support[present].double()).mean())


def unbiased_accuracy(predicted: Tensor, labels: Tensor, num_classes: int) -> float:
    """Macro accuracy at an epoch that other images have chosen, by cross-validation of the choice in two halves.

    The best score over the epochs is too high as an estimate for new images, because these very images have chosen the epoch.

    Args:
        predicted: (E, N) int64 predicted classes after each of E ≥ 1 epochs.
        labels: (N,) int64 true classes, N ≥ 1.
        num_classes: Number of classes.

    Returns:
        The mean of two scores: of each half, at the epoch that is best on the other one. The images of each class alternate
        between the halves. With one image, or one of each class, its score at the last epoch.
    """
    order = torch.argsort(labels, stable=True)
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(labels), device=labels.device)
    firsts = torch.searchsorted(labels[order], labels)
    halves = [(ranks - firsts) % 2 == side for side in (0, 1)]
    if not halves[1].any():
        return macro_accuracy(predicted[-1], labels, num_classes)
    by_half = [[macro_accuracy(epoch[half], labels[half], num_classes) for epoch in predicted] for half in halves]
    best = [scores.index(max(scores)) for scores in by_half]
    return (by_half[0][best[1]] + by_half[1][best[0]]) / 2


def score_predictions(probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """The scores reported on the test set.

    Args:
        probabilities: (N, C) softmax outputs.
        labels: (N,) int64 true classes.

    Returns:
        macro_accuracy, accuracy, average_precision (macro), kappa (Cohen), f1 (macro), and for two classes roc_auc of
        the second one.
    """
    from sklearn import metrics  # slow to import, needed once per run

    num_classes = probabilities.shape[1]
    predicted = probabilities.argmax(1)
    truth, guesses, chances = labels.numpy(), predicted.numpy(), probabilities.numpy()
    # a class without test images has no recall and no precision to average
    present = np.unique(truth)
    one_hot = truth[:, None] == present
    scores = {
        "macro_accuracy": macro_accuracy(predicted, labels, num_classes),
        "accuracy": float(metrics.accuracy_score(truth, guesses)),
        "average_precision": float(metrics.average_precision_score(one_hot, chances[:, present], average="macro")),
        "kappa": float(metrics.cohen_kappa_score(truth, guesses)),
        "f1": float(metrics.f1_score(truth, guesses, average="macro", zero_division=0)),
    }
    if num_classes == 2 and len(present) == 2:
        scores["roc_auc"] = float(metrics.roc_auc_score(truth, chances[:, 1]))
    return scores
