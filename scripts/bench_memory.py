"""Peak anonymous memory of a training on 2,000 and on 20,000 image files at 224 pixels: what mapped files do not count for.

Each size runs in a process of its own, which reads its peak from the system while it decodes, shares activations and trains.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench_common import image_tree, machine, parser, report

COUNTS = (2_000, 20_000)
MIB = 2**20


def main() -> None:
    """Measure and print the table, or, as a child, measure one size."""
    arguments = parser(__doc__)
    arguments.add_argument("--counts", type=int, nargs="+", default=list(COUNTS), help="numbers of images")
    arguments.add_argument("--child", type=Path, help="measure this tree in this process and print the peak")
    given = arguments.parse_args()
    if given.child is not None:
        print(json.dumps(peak_of_a_training(given.child, given.device)))
        return
    rows, peaks = [], []
    with tempfile.TemporaryDirectory() as folder:
        for count in given.counts:
            root = Path(folder) / str(count)
            one_image_many_names(root, count)
            environment = {**os.environ, "BIOTUNE_CACHE_DIR": str(Path(folder) / f"cache-{count}")}
            command = [sys.executable, __file__, "--child", str(root), "--device", given.device]
            said = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
            found = json.loads(said.splitlines()[-1])
            peaks.append(found["peak"])
            sizes = (f"{found[name] / MIB:,.0f} MiB" for name in ("pixels", "features", "peak"))
            rows.append(f"| {count:,} | {' | '.join(sizes)} |")
            print(rows[-1], file=sys.stderr, flush=True)
    import torch

    lines = [
        "| images at 224 px | decoded | shared activations | peak anonymous memory |",
        "|---|---|---|---|",
        *rows,
        "",
        f"Growth: {(peaks[-1] - peaks[0]) / MIB:.0f} MiB. {machine(torch.device('cpu'))}.",
    ]
    report("bench_memory", lines, given.docs)


def one_image_many_names(root: Path, count: int) -> None:
    """A tree of so many image files, which are hard links to forty: decoding takes them for different ones."""
    originals = image_tree(root / "originals", {"train": 40}, 4, (256, 256))
    files = sorted(originals.rglob("*.jpg"))
    splits = {"train": count * 6 // 10, "val": count * 2 // 10, "test": count * 2 // 10}
    for split, size in splits.items():
        for index in range(size):
            original = files[index % len(files)]
            folder = root / "images" / split / original.parent.name
            folder.mkdir(parents=True, exist_ok=True)
            os.link(original, folder / f"{index:06d}.jpg")


def peak_of_a_training(root: Path, device_name: str) -> dict[str, int]:
    """Decode, share activations, train the last two blocks for an epoch; bytes at the peak."""
    peak = [0]
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            peak[0] = max(peak[0], anonymous_bytes())
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()

    from biotune.config.schema import TrialsConfig
    from biotune.config.sections import BackboneConfig, DatasetConfig, ExecutorConfig, TrainingConfig
    from biotune.executors.in_process import InProcess
    from biotune.executors.setup import Setup
    from biotune.recipes.inputs import Prepared
    from biotune.recipes.progress import SILENCE
    from biotune.schedule.schedule import Schedule
    from biotune.store.scratch import scratch
    from biotune.training.finetune import finetune
    from biotune.trial import Trial

    config = TrialsConfig(
        device=device_name,
        dataset=DatasetConfig("folder", "folder", str(root / "images"), image_size=224),
        backbone=BackboneConfig("biotune", "glyphnet"),
        training=TrainingConfig(epochs=1, batch_size=32, eval_batch_size=32),
        executor=ExecutorConfig("in_process", threads=2),
    )
    inputs = Prepared().take(config, SILENCE.decoding)
    device, network, data = inputs.device, inputs.network, inputs.data
    with scratch() as space:
        workspace = InProcess.of(Setup.of(config, data, root, space), config, device, network).workspace
        # the last two blocks: all images are gone through once, and then the large activations before these blocks
        weights = (0.0,) * (len(network.blocks) - 2) + (1.0, 1.0)
        finetune(Trial(Schedule(network.blocks, weights), 0, 1, 1, config.training.base_lr), workspace)
        features = sum(file.stat().st_size for file in space.glob("*.bin"))
    over.set()
    watcher.join()
    return {"peak": peak[0], "pixels": math.prod(data.pixels.shape), "features": features}


def anonymous_bytes() -> int:
    """Anonymous memory of this process, as Linux counts it."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("this system does not tell anonymous memory apart.")


if __name__ == "__main__":
    main()
