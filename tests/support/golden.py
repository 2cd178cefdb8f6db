"""Runs of small commands whose tables are kept as text, and how such tables are compared.

The bytes of a table hang on the processor: its instructions decide in which order floats are summed. So kept tables are
compared byte for byte where they were made, and within a tolerance elsewhere.
"""

from __future__ import annotations

import csv
import io
import json
import platform
from pathlib import Path

import numpy
import torch

from biotune.cli import main

TOLERANCE = 1e-3  # of a number that no decision hangs on, on another processor
HERE = Path(__file__).parents[1] / "golden"
FACTS = HERE / "facts.json"
GENOTYPES = HERE / "genotypes.csv"

DIGITS = [
    "device=cpu",
    "executor=in_process",
    "executor.threads=1",
    "dataset=digits",
    "dataset.max_per_class=6",
    "dataset.max_eval_per_class=6",
    "backbone=glyphnet",
    "training.epochs=2",
    "training.lr=0.003",
    "training.batch_size=16",
    "training.precision=fp32",
]
IMAGES = [word for word in DIGITS if not word.startswith(("training.epochs=", "training.precision="))]  # trains nothing
SEARCH = [
    "experiment=smoke",
    "dataset.max_classes=6",
    "evolution.folds=2",
    "evolution.generations=2",
    "training.seeds=[1,4]",
    "confirm.top_k=2",
]
STRATEGIES = "full,linear_probe,lp_ft,l2_sp,auto_rgn,gradual_last_to_first,discriminative,lora,biotune"
COMMANDS = {
    "run": [*SEARCH, *DIGITS, "seed=5"],
    "train": [*DIGITS, "strategy=layer_decay", "test.seeds=[1,2]"],
    "compare": [
        *SEARCH,
        *DIGITS,
        f"strategies=[{STRATEGIES}]",
        "test.seeds=[3]",
        "compare.tune_lr=false",
        "evolution.generations=1",
    ],
    "evaluate": [*DIGITS, f"genotypes={GENOTYPES}", "training.seeds=[1]", "evolution.folds=2"],
    "suggest": [*IMAGES, "dataset.shift=noise"],
}
KEPT = {
    "run": (
        *("generations.csv", "summary.csv", "confirm.csv", "test.csv"),
        *("best_schedule.yaml", "predictions.csv"),
    ),
    "train": ("test.csv", "best_schedule.yaml", "predictions.csv"),
    "compare": ("comparison.csv",),
    "evaluate": ("evaluations.csv",),
    "suggest": ("suggestion.yaml", "result.json"),
}


def facts() -> dict[str, str]:
    """What the bytes of a table may hang on, of this machine."""
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__.partition("+")[0],
        "numpy": numpy.__version__,
    }


def _processor() -> str:
    """Vendor, family and model of the processor; its name alone may be that of many, in a virtual machine."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    known = dict(line.split(":", 1) for line in text.partition("\n\n")[0].splitlines() if ":" in line)
    named = {name.strip(): value.strip() for name, value in known.items()}
    return ", ".join(named.get(name, "") for name in ("vendor_id", "cpu family", "model", "model name"))


def made_here(path: Path = FACTS) -> bool:
    """Whether kept tables were made on a machine like this one."""
    return bool(json.loads(path.read_text(encoding="utf-8")) == facts())


def run_command(command: str, folder: Path) -> dict[str, str]:
    """Run one command of `COMMANDS` into a folder; returns its kept files' texts without times."""
    assert main([command, *COMMANDS[command], "-q", f"hydra.run.dir={folder}"]) == 0
    return texts(folder, KEPT[command])


def texts(folder: Path, names: tuple[str, ...]) -> dict[str, str]:
    """Files of a run's folder by name, tables without their columns of times."""
    return {name: without_times(name, (folder / name).read_text(encoding="utf-8")) for name in names}


def without_times(name: str, text: str) -> str:
    """A table's text, but for the columns that hold times; any other file's text as it is."""
    if not name.endswith(".csv"):
        return text
    rows = list(csv.reader(io.StringIO(text)))
    keep = [column for column, title in enumerate(rows[0]) if title != "seconds" and not title.endswith("_seconds")]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([row[column] for column in keep] for row in rows)
    return out.getvalue()


def with_columns_of(kept: str, name: str, text: str) -> str:
    """A table's text with the columns of a kept one alone; any other file's text as it is."""
    if not name.endswith(".csv"):
        return text
    rows, columns = list(csv.reader(io.StringIO(text))), next(csv.reader(io.StringIO(kept)))
    places = [rows[0].index(column) for column in columns]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([row[place] for place in places] for row in rows)
    return out.getvalue()


def assert_same(name: str, found: str, kept: str, to_the_byte: bool) -> None:
    """Fail unless two texts are equal, or equal but for numbers that differ by no more than the tolerance."""
    if to_the_byte:
        assert found == kept, f"{name} differs from what is kept"
        return
    assert len(found.splitlines()) == len(kept.splitlines()), f"{name} has another number of lines"
    for number, (new, old) in enumerate(zip(found.splitlines(), kept.splitlines(), strict=True), 1):
        words, before = (line.replace(",", " , ").split() for line in (new, old))
        assert len(words) == len(before), f"{name}:{number}: {new!r} is kept as {old!r}"
        assert all(map(_close, words, before)), f"{name}:{number}: {new!r} is kept as {old!r}"


def _close(word: str, before: str) -> bool:
    if word == before:
        return True
    try:
        return abs(float(word) - float(before)) <= TOLERANCE * max(1.0, abs(float(before)))
    except ValueError:
        return False
