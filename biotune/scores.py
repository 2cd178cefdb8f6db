"""How good predictions are: macro accuracy a validation epoch, the whole set of scores for the test split."""

import warnings

import torch
from torch import Tensor


def macro_accuracy(predicted: Tensor, labels: Tensor, num_classes: int) -> float:
    """Mean of the per-class recalls over the classes that occur in `labels`.

    Args:
        predicted: (N,) int64 predicted classes.
        labels: (N,) int64 true classes, N ≥ 1.
        num_classes: Number of classes.
    """
    support = torch.bincount(labels, minlength=num_classes)
    hits = torch.bincount(labels[predicted == labels], minlength=num_classes)
    present = support > 0
    return float((hits[present].double() / support[present].double()).mean())


def test_scores(probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """The scores that are reported on the test split.

    Args:
        probabilities: (N, C) softmax outputs.
        labels: (N,) int64 true classes.

    Returns:
        macro_accuracy, accuracy, average_precision (macro), kappa (Cohen), f1 (macro), and for two classes roc_auc of
        the second one.
    """
    from torchmetrics.functional import classification  # slow to import, needed once a run

    num_classes = probabilities.shape[1]
    predicted = probabilities.argmax(1)
    with warnings.catch_warnings():
        # a class without test pictures has no average precision; torchmetrics leaves it out and says so
        warnings.simplefilter("ignore", UserWarning)
        scores = {
            "macro_accuracy": macro_accuracy(predicted, labels, num_classes),
            "accuracy": float((predicted == labels).double().mean()),
            "average_precision": float(classification.multiclass_average_precision(probabilities, labels, num_classes)),
            "kappa": float(classification.multiclass_cohen_kappa(predicted, labels, num_classes)),
            "f1": float(classification.multiclass_f1_score(predicted, labels, num_classes, average="macro")),
        }
        if num_classes == 2:
            scores["roc_auc"] = float(classification.binary_auroc(probabilities[:, 1], labels))
    return scores


test_scores.__test__ = False  # type: ignore[attr-defined]  # or pytest collects it by its name
