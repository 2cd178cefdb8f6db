"""Decoding of large datasets: images a second by cores, time and peak memory of a first and a second start, and of the check.

The images are JPEG files, all different, made for the measurement. Every figure comes from a process of its own, which may use
the stated cores only. Wall-clock times on a shared machine are upper bounds; CPU time stands beside them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bench_common import machine, parser, report
from PIL import Image

MIB = 2**20
COUNTS = (10_000, 200_000)
CLASSES = 20
SIDE, SMALL = (96, 96), 64
PHOTOGRAPH, LARGE = (500, 375), 224
RATES = ((SIDE, SMALL, 6_000), (PHOTOGRAPH, LARGE, 1_000))


def main() -> None:
    """Measure and print the tables, or, as a child, measure one thing."""
    arguments = parser(__doc__)
    arguments.add_argument("--counts", type=int, nargs="+", default=list(COUNTS), help="numbers of images")
    arguments.add_argument("--child", nargs=4, metavar=("WHAT", "ROOT", "SIZE", "CORES"), help="measure one thing here")
    given = arguments.parse_args()
    if given.child is not None:
        what, root, size, cores = given.child
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
        print(json.dumps(measured(CHILDREN[what], root, int(size))))
        return
    import torch

    with tempfile.TemporaryDirectory() as folder:
        lines = [*rates(Path(folder)), "", *starts(Path(folder), given.counts), "", f"{machine(torch.device('cpu'))}."]
    report("bench_decode", lines, given.docs)


def rates(folder: Path) -> list[str]:
    """The table of images a second, by size and number of cores."""
    cores = [1, len(os.sched_getaffinity(0))]
    lines = [
        f"| images | {' | '.join(f'{count} core' + 's' * (count > 1) for count in cores)} | CPU time an image |",
        f"|---|{'---|' * (len(cores) + 1)}",
    ]
    for (width, height), size, count in RATES:
        root = folder / f"{width}"
        make_images(root, count, (width, height))
        found = [child("decode", root, size, folder / f"rates-{width}-{number}", number) for number in cores]
        speeds = " | ".join(f"{count / one['seconds']:,.0f} images/s" for one in found)
        lines.append(f"| {width} × {height} to {size} px | {speeds} | {found[0]['cpu'] / count * 1000:.2f} ms |")
        print(lines[-1], file=sys.stderr, flush=True)
    return lines


def starts(folder: Path, counts: list[int]) -> list[str]:
    """The table of starts of a run and of the check of a copy, by number of images."""
    cores = len(os.sched_getaffinity(0))
    lines = [
        "| images | what | time | CPU time | peak memory |",
        "|---|---|---|---|---|",
    ]
    for count in counts:
        root = folder / f"many-{count}"
        make_images(root, count, SIDE)
        for what, label in (
            ("cache", "first start"),
            ("cache", "second start"),
            ("stream", "first start, `dataset.decoded=stream`"),
            ("stream", "second start, `dataset.decoded=stream`"),
            ("check", "`biotune data check`"),
        ):
            found = child(what, root, SMALL, folder / f"{what}-{count}", cores)
            figures = f"{found['seconds']:,.1f} s | {found['cpu']:,.1f} s | {found['peak'] / MIB:,.0f} MiB"
            lines.append(f"| {count:,} | {label} | {figures} |")
            print(lines[-1], file=sys.stderr, flush=True)
    return lines


def make_images(root: Path, count: int, size: tuple[int, int]) -> None:
    """JPEG files of noise, enlarged so that it looks as smooth as a photograph, in folders of classes; no two are alike."""
    for label in range(CLASSES):
        (root / f"class{label:02d}").mkdir(parents=True)
    for index in range(count):
        rng = np.random.default_rng(index)
        coarse = rng.integers(0, 255, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        image.save(root / f"class{index % CLASSES:02d}" / f"{index:07d}.jpg", quality=90)


def child(what: str, root: Path, size: int, cache: Path, cores: int) -> dict[str, float]:
    """Measure one thing in a process of its own."""
    environment = {**os.environ, "BIOTUNE_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--child", what, str(root), str(size), str(cores)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    found: dict[str, float] = json.loads(said.splitlines()[-1])
    return found


def measured(action: Callable[[str, int], object], root: str, size: int) -> dict[str, float]:
    """Wall-clock and CPU seconds of a call, imports apart, and the peak of the process's resident memory in bytes."""
    import torchvision.transforms.v2  # noqa: F401

    import biotune.datasets.check
    import biotune.datasets.data  # noqa: F401

    cpu, begun = time.process_time(), time.perf_counter()
    action(root, size)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return {"seconds": seconds, "cpu": cpu, "peak": peak_memory()}


def peak_memory() -> int:
    """The peak of this process's resident memory in bytes; `getrusage` counts that of the parent too."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _config(root: str, **options: Any) -> Any:
    from biotune.config.sections import DatasetConfig

    return DatasetConfig("folder", "folder", root=root, **options)


def _geometry(size: int) -> Any:
    from biotune.backbones.network import Preprocessing

    return Preprocessing(size * 8 // 7, size, (0.5,) * 3, (0.5,) * 3)


def _start(decoded: str) -> Callable[[str, int], object]:
    """What a run does with its data before the first training run, by default: hold-outs, three splits and a confirmation."""

    def start(root: str, size: int) -> object:
        from biotune.datasets.data import find_dataset, load_dataset
        from biotune.datasets.splits import Resampling

        return load_dataset(find_dataset(_config(root, decoded=decoded), Resampling(3, True, None)), _geometry(size))

    return start


def _decode(root: str, size: int) -> object:
    from biotune.datasets.decoded import decode
    from biotune.datasets.registry import load_source

    source = load_source(_config(root))
    return decode(source, np.arange(len(source.names)), _geometry(size))


def _check(root: str, size: int) -> object:
    from biotune.datasets.check import check_copy

    return check_copy(_config(root))


CHILDREN: dict[str, Callable[[str, int], object]] = {
    "decode": _decode,
    "cache": _start("cache"),
    "stream": _start("stream"),
    "check": _check,
}


if __name__ == "__main__":
    main()
