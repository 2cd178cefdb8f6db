"""What the benchmarks share: images to train on, the machine in words, and where their tables go."""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from docs_tables import write_between_marks
from PIL import Image, ImageFilter

from biotune.datasets.data import Data
from biotune.training.device import has_bf16


def parser(description: str | None) -> argparse.ArgumentParser:
    """An argument parser with what every benchmark takes."""
    found = argparse.ArgumentParser(description=description)
    found.add_argument("--device", default="auto", help="auto, cpu or cuda")
    found.add_argument("--docs", type=Path, help="page to write the table into, between the benchmark's marks")
    return found


def machine(device: torch.device) -> str:
    """The machine in words, without its name."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {cores} CPU cores, torch {torch.__version__}"
    bf16 = "with" if has_bf16(device) else "without"
    return f"{cores} shared CPU cores ({_processor()}), {bf16} bf16 instructions, torch {torch.__version__}"


def _processor() -> str:
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{os.uname().machine}, {capability}"


def timed(action: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def paired(ours: Callable[[], object], theirs: Callable[[], object], repeats: int) -> list[tuple[float, float]]:
    """Seconds of two calls, in turn, so that a drift of the machine's speed meets both."""
    return [(timed(ours), timed(theirs)) for _ in range(repeats)]


def median_ratio(pairs: Sequence[tuple[float, float]]) -> float:
    """Median over the pairs of second over first."""
    return statistics.median(theirs / ours for ours, theirs in pairs)


def image_tree(root: Path, counts: dict[str, int], classes: int, size: tuple[int, int], seed: int = 0) -> Path:
    """A tree of JPEG photographs' look-alikes: soft gradients, blobs of the class's colour, grain.

    Args:
        root: Where to make it.
        counts: Images a split, over all classes.
        classes: Number of classes.
        size: Width and height in pixels.
        seed: Seed of all that is random.
    """
    rng = np.random.default_rng(seed)
    hues = rng.uniform(40, 215, (classes, 3))
    for split, count in counts.items():
        for index in range(count):
            label = index % classes
            folder = root / split / f"class{label:02d}"
            folder.mkdir(parents=True, exist_ok=True)
            _image(rng, hues[label], label, size).save(folder / f"{index:05d}.jpg", quality=90)
    return root


def _image(rng: np.random.Generator, hue: np.ndarray, label: int, size: tuple[int, int]) -> Image.Image:
    width, height = size
    coarse = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    ground = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)).astype(np.float64)
    y, x = np.mgrid[:height, :width]
    for _ in range(3 + label % 4):
        cx, cy, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.05, 0.2) * height
        inside = ((x - cx) ** 2 + ((y - cy) * (1 + label % 3)) ** 2 < radius**2)[..., None]
        ground = np.where(inside, 0.3 * ground + 0.7 * (hue + rng.normal(0, 25, 3)), ground)
    grain = rng.normal(0, 12, ground.shape)
    image = Image.fromarray(np.clip(ground + grain, 0, 255).astype(np.uint8))
    return image.filter(ImageFilter.GaussianBlur(0.7))


def labelled_files(root: Path, data: Data, rows: np.ndarray) -> list[tuple[Path, int]]:
    """The image files of a dataset's rows, with their labels."""
    return [(root / data.names[row], int(data.labels[row])) for row in rows]


def report(name: str, lines: Sequence[str], page: Path | None) -> None:
    """Print a table and, if asked, write it between the benchmark's marks."""
    text = "\n".join(lines)
    print(text, flush=True)
    if page is not None:
        write_between_marks(page, text, f"<!-- measured by scripts/{name}.py -->", f"<!-- end of {name} -->")
