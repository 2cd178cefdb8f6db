"""What biotune's benchmarks are measured against: fine-tuning as a careful user writes it by hand. Uses nothing of biotune's.

Image files are decoded by DataLoader workers every epoch, the whole network runs in float32, frozen blocks have no gradients
and keep their normalisation layers in eval mode, one Adam holds what is trainable, the best weights are saved to a file.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets.folder import default_loader

LOADER_WORKERS = 4
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Plan:
    """One fine-tune.

    Attributes:
        rates: Learning rate of each group of modules, 0 for frozen ones; the names are torchvision's.
        epochs: Most epochs.
        patience: Epochs without a better score before it stops.
        batch_size: Images a training batch.
        eval_batch_size: Images an evaluation batch.
        seed: Seed of batch order and head.
        head: Name of the final linear layer.
        decay_epochs: T_max of the cosine, stepped every epoch.
        gradual: Whether the trained groups join one by one, one more every epoch from the last up to the first.
    """

    rates: dict[tuple[str, ...], float]
    epochs: int
    patience: int
    batch_size: int
    eval_batch_size: int
    seed: int
    head: str
    decay_epochs: int = 100
    gradual: bool = False


class ImageFiles(Dataset[tuple[Tensor, int]]):
    """Image files with their labels, decoded whenever they are asked for."""

    def __init__(self, files: Sequence[tuple[Path, int]], prepare: transforms.Compose) -> None:
        self.files = files
        self.prepare = prepare

    def __len__(self) -> int:
        """Number of images."""
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One image, (3, H, W) float, and its label."""
        path, label = self.files[index]
        return self.prepare(default_loader(str(path))), label


def image_loaders(
    train: Sequence[tuple[Path, int]], val: Sequence[tuple[Path, int]], geometry: Any, plan: Plan, workers: int | None = None
) -> list[Iterable[Batch]]:
    """Batches of image files, decoded by worker processes every time they are gone through.

    Args:
        train: Training images with their labels.
        val: Validation images with their labels.
        geometry: Has `resize`, `crop`, `mean` and `std`.
        plan: The fine-tune.
        workers: Worker processes of each of the two, by default LOADER_WORKERS.
    """
    workers = LOADER_WORKERS if workers is None else workers
    prepare = transforms.Compose(
        [
            transforms.Resize(geometry.resize),
            transforms.CenterCrop(geometry.crop),
            transforms.ToTensor(),
            transforms.Normalize(geometry.mean, geometry.std),
        ]
    )
    return [
        DataLoader(ImageFiles(train, prepare), plan.batch_size, shuffle=True, num_workers=workers),
        DataLoader(ImageFiles(val, prepare), plan.eval_batch_size, num_workers=workers),
    ]


@dataclass(frozen=True)
class Batches:
    """Batches of tensors in memory, in a new order every time if shuffled."""

    images: Tensor
    labels: Tensor
    size: int
    shuffled: bool

    def __iter__(self) -> Iterator[Batch]:
        """Go through all images once."""
        order = torch.randperm(len(self.labels)) if self.shuffled else torch.arange(len(self.labels))
        for rows in order.split(self.size):
            yield self.images[rows], self.labels[rows]


def fine_tune(
    pretrained: nn.Module,
    loaders: Sequence[Iterable[Batch]],
    plan: Plan,
    device: torch.device,
    after_epoch: Callable[[int, float], None] = lambda epoch, score: None,
) -> list[float]:
    """Fine-tune a copy of a network; returns the macro accuracy after each epoch.

    Args:
        pretrained: The network.
        loaders: Training and validation batches.
        plan: The fine-tune.
        device: Where it is trained.
        after_epoch: Called with each epoch's number and score; an exception of its ends the fine-tune.
    """
    torch.manual_seed(plan.seed)
    model = copy.deepcopy(pretrained).to(device)
    head = model.get_submodule(plan.head)
    if isinstance(head, nn.Linear):
        head.reset_parameters()
    groups, trained, frozen = [], [], []
    for names, rate in plan.rates.items():
        modules = nn.ModuleList(model.get_submodule(name) for name in names)
        modules.requires_grad_(rate > 0)
        if rate > 0:
            groups.append({"params": list(modules.parameters()), "lr": rate})
            trained.append(modules)
        else:
            frozen.append(modules)
    complete = len(trained) - 1 if plan.gradual else 0
    optimizer = torch.optim.Adam(groups)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, plan.decay_epochs)
    loss_function = nn.CrossEntropyLoss()
    train, val = loaders
    curve: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for epoch in range(plan.epochs):
            model.train()
            waiting = trained[: max(complete - epoch, 0)]
            for modules in trained:
                modules.requires_grad_(modules not in waiting)
            for modules in frozen + waiting:
                modules.eval()
            for images, labels in train:
                images, labels = images.to(device), labels.to(device)
                if len(labels) == 1:
                    continue  # batch normalisation needs two
                optimizer.zero_grad()
                loss = loss_function(model(images), labels)
                loss.backward()
                optimizer.step()
            scheduler.step()
            curve.append(_macro_accuracy(model, val, device))
            after_epoch(epoch, curve[-1])
            if curve[-1] == max(curve):
                torch.save(model.state_dict(), Path(folder) / "best.pt")
            if epoch - max(curve.index(max(curve)), complete) >= plan.patience:
                break
    return curve


@torch.no_grad()
def _macro_accuracy(model: nn.Module, val: Iterable[Batch], device: torch.device) -> float:
    model.eval()
    predicted, truth = [], []
    for images, labels in val:
        predicted.append(model(images.to(device)).argmax(1).cpu())
        truth.append(labels)
    guesses, labels = torch.cat(predicted), torch.cat(truth)
    recalls = [(guesses[labels == label] == label).double().mean() for label in labels.unique()]
    return float(torch.stack(recalls).mean())
