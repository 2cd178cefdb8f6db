"""The linear probe as the start of a head: multinomial logistic regression on the features of the pre-trained network.

Source: Kumar et al., *Fine-tuning can distort pretrained features and underperform out-of-distribution*, ICLR 2022, who fit
the head before they fine-tune. The regression is convex and solved to convergence, so the fit depends on the images of a
fold, but on no training seed. Its regularisation is as strong as validation scores allow: a head that fits the training
images leaves the body no gradient to learn from (Ren et al., *How to prepare your task head for finetuning*, ICLR 2023).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from biotune.errors import TrialError
from biotune.training.metrics import macro_accuracy
from biotune.training.placement import Rows
from biotune.training.workspace import LinearHead, Workspace

# L2 strengths λ per feature to choose from, from strong to weak, so that each fit can start from the one before
STRENGTHS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
_BATCH = 64  # images per forward pass; constant, so that all workers get equal values
_MOST_STEPS = 500
_CONSTANT = 1e-6  # sd of a feature, as a share of the largest sd, below which it counts as constant


class Examples(NamedTuple):
    """Features and labels of some images.

    Attributes:
        features: (N, F) float64.
        labels: (N,) int64.
    """

    features: Tensor
    labels: Tensor


def probe_of(workspace: Workspace, fold: int | None, class_weights: Tensor | None) -> LinearHead:
    """Return the probe of a fold's training images, fitted once per worker; validation scores choose its strength.

    Args:
        workspace: The network with its initial weights, and its data.
        fold: The fold, or None for the whole split.
        class_weights: (classes,) weights of the classes in the loss of training; None for an unweighted loss.

    Raises:
        TrialError: The head's input is not one vector per image.
    """
    if fold not in workspace.probes:
        part = workspace.data.part(fold)
        train, val = (Examples(features_of(workspace, rows), workspace.labels(rows)) for rows in (part.train, part.val))
        if workspace.device.type == "mps":  # has no float64
            train, val = (Examples(one.features, one.labels.cpu()) for one in (train, val))
        head = workspace.network.module.get_submodule(workspace.network.head)
        fits = fit_heads(train, class_weights, len(workspace.data.classes), head.bias is not None)
        workspace.probes[fold] = choose_head(fits, val)
    return workspace.probes[fold]


def features_of(workspace: Workspace, rows: Rows) -> Tensor:
    """(N, F) float64 inputs of the head in eval mode, for images without augmentation; from shared activations, if any.

    Args:
        workspace: The network with its initial weights, and its data.
        rows: (N,) rows of the images.

    Raises:
        TrialError: The head's input is not one vector per image.
    """
    network = workspace.network
    entry = workspace.entry(len(network.blocks) - 1)
    found: list[Tensor] = []
    where = torch.device("cpu") if workspace.device.type == "mps" else workspace.device

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.append(inputs[0].to(where).double())

    handle = network.module.get_submodule(network.head).register_forward_pre_hook(keep)
    try:
        with workspace.computing():
            for inputs in entry.inputs(rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH)):
                entry.forward(inputs)
    finally:
        handle.remove()
    features = torch.cat(found)
    if features.dim() != 2 or len(features) != len(rows):
        raise TrialError(
            f"the head {network.head} takes inputs of shape {tuple(features.shape)} for {len(rows)} images, but a linear probe "
            "needs one vector per image; give training.head_start=fresh"
        )
    return features.clone()  # no longer an inference tensor, so that autograd can use it


def fit_heads(train: Examples, class_weights: Tensor | None, classes: int, bias: bool = True) -> list[LinearHead]:
    """Fit a multinomial logistic regression for every strength, by L-BFGS.

    Minimises the mean cross-entropy, weighted as in training, plus λF/2 of the squared weights. The features are standardised
    within the regression, where λ applies; with F, a strength means the same for any number of features. The returned head
    takes them as they are.

    Args:
        train: The training images, at least one.
        class_weights: (classes,), or None.
        classes: Number of classes C.
        bias: Whether the head has a bias; without one the features are only scaled.

    Returns:
        One head per strength, weight (C, F) and bias (C,) in float64.
    """
    features, labels = train
    sd, mean = torch.std_mean(features, dim=0, correction=0)
    sd = torch.where(sd > _CONSTANT * sd.max(), sd, 1.0)
    mean = mean if bias else torch.zeros_like(mean)
    inputs = (features - mean) / sd
    weight = torch.zeros(classes, features.shape[1], dtype=torch.float64, device=features.device, requires_grad=True)
    offset = torch.zeros(classes, dtype=torch.float64, device=features.device, requires_grad=bias)
    weights = None if class_weights is None else class_weights.to(features)
    fits = []
    for strength in STRENGTHS:
        _minimise(inputs, labels, weight, offset, weights, strength * features.shape[1])
        own = weight.detach() / sd
        fits.append(LinearHead(own, offset.detach() - own @ mean))
    return fits


def _minimise(
    inputs: Tensor, labels: Tensor, weight: Tensor, offset: Tensor, class_weights: Tensor | None, strength: float
) -> None:
    """Move weight (C, F) and offset (C,) to the minimum for one strength, from where they are."""
    moved = [one for one in (weight, offset) if one.requires_grad]
    solver = torch.optim.LBFGS(
        moved, max_iter=_MOST_STEPS, tolerance_grad=1e-7, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        solver.zero_grad()
        logits = nn.functional.linear(inputs, weight, offset)
        value = nn.functional.cross_entropy(logits, labels, class_weights) + strength / 2 * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        solver.step(loss)


def choose_head(fits: Sequence[LinearHead], val: Examples) -> LinearHead:
    """Return the first head whose validation macro accuracy is at most one standard error below the best.

    Source: the one-standard-error rule of Breiman et al., *Classification and regression trees*, 1984.

    Args:
        fits: The heads, the most regularised one first.
        val: The validation images, at least one.
    """
    scores = [
        macro_accuracy(nn.functional.linear(val.features, *head).argmax(1), val.labels, len(head.weight)) for head in fits
    ]
    best = max(scores)
    enough = best - math.sqrt(best * (1 - best) / len(val.labels))
    return next(head for head, score in zip(fits, scores, strict=True) if score >= enough)
