"""Wall-clock time until the schedule in hand has a given true quality: `biotune run` against Optuna and random search.

The two others search over the plain loop (scripts/plain_search.py). Each is timed as a process from start to end, its start
included. True quality is the mean test macro accuracy of a schedule retrained with the run's test seeds; measuring it does not
count as time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from bench_common import labelled_files, machine, parser, report
from bench_search import in_memory
from plain_loop import Plan
from plain_search import SAMPLERS
from trained_task import prepared, runner_of, test_scores

from biotune.config.schema import TrialsConfig
from biotune.evolution.rows import schedule_of_row
from biotune.evolution.surrogate import Observation, fitness_by_schedule
from biotune.recipes.inputs import Inputs
from biotune.schedule.block import Block
from biotune.schedule.schedule import LAST_TO_FIRST, TOGETHER, Schedule

CASES = {"noise": ("panel_noise", False), "images": ("panel_stamps", True)}  # experiment, whether it has image files
WORDS = {"noise": "noisy digits, glyphnet", "images": "stamps, EfficientNet-Lite0"}
OURS = "biotune"
SEARCHES = {OURS: "biotune run", "tpe": "Optuna, TPE and median pruner", "random": "random search"}
POLL = 0.05  # seconds between two looks into the journal


@dataclass(frozen=True)
class Incumbent:
    """The schedule in hand from some time on.

    Attributes:
        seconds: Since the process was started.
        schedule: The schedule; None for the winner of biotune's run, whose quality the run itself has measured.
        quality: Its mean test macro accuracy, once known.
    """

    seconds: float
    schedule: Schedule | None
    quality: float | None = None


@dataclass(frozen=True)
class Timeline:
    """One search: its incumbents in order, and its seconds in all."""

    incumbents: tuple[Incumbent, ...]
    seconds: float


def main() -> None:
    """Measure and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="repetitions: seeds of searches and splits")
    arguments.add_argument(
        "--share", type=float, default=0.95, help="target, on the way from full fine-tuning to the best found"
    )
    arguments.add_argument("--budget", type=float, default=2.0, help="time of the other searches, in whole runs of biotune")
    arguments.add_argument("--checkpoints", type=int, default=6, help="most incumbents of a search whose quality is measured")
    arguments.add_argument("overrides", nargs="*", help="further overrides of 'biotune run'")
    given = arguments.parse_args()
    if given.checkpoints < 2:
        arguments.error("argument --checkpoints: the first and the last incumbent make at least two")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for case in given.cases:
            repetitions = []
            for seed in given.seeds:
                place = Path(folder) / f"{case}-{seed}"
                place.mkdir()
                # each repetition decodes its images anew, as a first run does
                os.environ["BIOTUNE_CACHE_DIR"] = str(place / "cache")
                repetitions.append(repeat(case, seed, place, given))
                print(described(case, seed, *repetitions[-1], given.share), file=sys.stderr, flush=True)
            rows += table_rows(WORDS[case], repetitions, given.share)
    lines = [
        "| task | search | true quality in the end | whole search | time to target | times biotune's |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        f"Target: {100 * given.share:.0f} % of the way from full fine-tuning at the base learning rate to the best that any "
        f"search had in hand, in each repetition. Cells list the repetitions with seeds {', '.join(map(str, given.seeds))}, "
        f"each with splits and searches of its own. The others search for {given.budget:g} times as long as a whole run of "
        f"biotune takes, its final training runs and report included. "
        f"{machine(torch.device('cpu' if given.device == 'auto' else given.device))}.",
    ]
    report("bench_time_to_quality", lines, given.docs)


def repeat(case: str, seed: int, place: Path, given: argparse.Namespace) -> tuple[dict[str, Timeline], float]:
    """One repetition: the three searches with the qualities of their incumbents, and the quality of full fine-tuning."""
    experiment, files = CASES[case]
    device = "cpu" if given.device == "auto" else given.device
    run = place / "run"
    command = [sys.executable, "-m", "biotune", "run", "-q", f"experiment={experiment}", f"device={device}", f"seed={seed}"]
    command += [f"dataset.split_seed={seed}", f"hydra.run.dir={run}", *given.overrides]
    with (place / "run.txt").open("w", encoding="utf-8") as out:
        moments, seconds = watched(command, run, out)
    stored = yaml.safe_load((run / ".hydra" / "config.yaml").read_text(encoding="utf-8"))
    config, inputs = prepared(stored, "process_pool")
    timelines = {OURS: Timeline(ours(run, moments, inputs.network.blocks), seconds)}
    torch.save(task_of(config, inputs, files), place / "task.pt")
    for sampler in SAMPLERS:
        timelines[sampler] = plain(sampler, seed, place, seconds * given.budget, device, inputs.network.blocks)
    timelines = {
        name: replace(line, incumbents=thinned(line.incumbents, given.checkpoints)) for name, line in timelines.items()
    }
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    wanted = {
        one.schedule.key: one.schedule for line in timelines.values() for one in line.incumbents if one.schedule is not None
    }
    (place / "quality").mkdir()
    runner = runner_of(config, inputs, place / "quality")
    try:
        found = test_scores(runner, list(wanted.values()), stored["test"]["seeds"], config.training)
    finally:
        runner.close()
    won = float(result["test"]["macro_accuracy"]["mean"])
    measured = {
        name: replace(
            line,
            incumbents=tuple(
                replace(one, quality=won if one.schedule is None else found[one.schedule.key]) for one in line.incumbents
            ),
        )
        for name, line in timelines.items()
    }
    return measured, float(result["baselines"]["full"]["macro_accuracy"]["mean"])


def watched(command: Sequence[str], run: Path, out: Any) -> tuple[dict[int | None, float], float]:
    """Run biotune and note when each generation ended, and under None when the winner was written.

    Returns:
        Seconds by generation, and of the whole process.

    Raises:
        SystemExit: It fails.
    """
    moments: dict[int | None, float] = {}
    started = time.time()
    process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    journal, read, rest = run / "journal.jsonl", 0, b""
    while True:
        ended = process.poll() is not None
        now = time.time() - started
        if journal.is_file():
            with journal.open("rb") as file:
                file.seek(read)
                new = file.read()
            read += len(new)
            *lines, rest = (rest + new).split(b"\n")
            for record in map(json.loads, filter(None, lines)):
                if record["kind"] == "generation":
                    moments.setdefault(record["number"], now)
        if None not in moments and (run / "best_schedule.yaml").is_file():
            moments[None] = now
        if ended:
            break
        time.sleep(POLL)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: failed with exit status {process.returncode}; see {out.name}.")
    return moments, now


def ours(run: Path, moments: dict[int | None, float], blocks: Sequence[Block]) -> tuple[Incumbent, ...]:
    """The best of the hall after each generation, as the regression ranks it, and the confirmed winner."""
    # an elite that carries its score over stands in the table again
    rows = pd.read_csv(run / "generations.csv").drop_duplicates(["individual", "fold"]).to_dict("records")
    found = []
    for number in sorted(one for one in moments if one is not None):
        seen = [
            Observation(schedule_of_row(row, blocks), int(row["fold"]), float(row["fitness"]))
            for row in rows
            if row["generation"] <= number and row["status"] in ("ok", "cached")
        ]
        if seen:
            found.append(Incumbent(moments[number], best_of(seen)))
    return (*found, Incumbent(moments[None], None))


def best_of(seen: Sequence[Observation]) -> Schedule:
    """The schedule that a search would return that ended here."""
    fitness = fitness_by_schedule(seen)
    return min((one.schedule for one in seen), key=lambda schedule: fitness[schedule.key])


def task_of(config: TrialsConfig, inputs: Inputs, files: bool) -> dict[str, Any]:
    """What the plain search gets: the network, the images of the given split, and the settings."""
    training, network, data = config.training, inputs.network, inputs.data
    geometry = network.preprocessing.scaled_to(config.dataset.sides)
    task: dict[str, Any] = {
        "module": network.module,
        "blocks": [(block.name, block.modules) for block in network.blocks],
        "head": network.head,
        "base_lr": training.base_lr,
        **{name: getattr(training, name) for name in ("epochs", "patience", "batch_size", "eval_batch_size", "cosine_epochs")},
    }
    parts = data.whole.train, data.whole.val
    if files:
        root = Path(str(config.dataset.root)).absolute()
        task["files"] = [labelled_files(root, data, rows) for rows in parts]
        task["geometry"] = {name: getattr(geometry, name) for name in ("resize", "crop", "mean", "std")}
        return task
    plan = Plan({}, training.epochs, training.patience, training.batch_size, training.eval_batch_size, 0, network.head)
    batches = [in_memory(data, geometry, rows, plan, False) for rows in parts]
    task["tensors"] = [(one.images, one.labels) for one in batches]
    return task


def plain(sampler: str, seed: int, place: Path, seconds: float, device: str, blocks: Sequence[Block]) -> Timeline:
    """One search over the plain loop, in a process of its own."""
    out = place / f"{sampler}.jsonl"
    script = Path(__file__).with_name("plain_search.py")
    started = time.time()
    own = ["--sampler", sampler, "--seed", str(seed), "--until", str(started + seconds), "--device", device, "--out", str(out)]
    subprocess.run([sys.executable, str(script), str(place / "task.pt"), *own], check=True)
    *lines, last = map(json.loads, out.read_text(encoding="utf-8").splitlines())
    found = [
        Incumbent(
            line["at"] - started,
            Schedule(tuple(blocks), tuple(line["weights"]), unfreezing=LAST_TO_FIRST if line["gradual"] else TOGETHER),
        )
        for line in lines
    ]
    return Timeline(tuple(found), last["at"] - started)


def thinned(incumbents: Sequence[Incumbent], most: int) -> tuple[Incumbent, ...]:
    """Distinct incumbents, at most so many: the first, the last and some between them, evenly by their number."""
    changed = [
        one for before, one in zip([None, *incumbents], incumbents, strict=False) if before is None or differ(before, one)
    ]
    if len(changed) <= most:
        return tuple(changed)
    kept = sorted({round(index * (len(changed) - 1) / (most - 1)) for index in range(most)})
    return tuple(changed[index] for index in kept)


def differ(one: Incumbent, other: Incumbent) -> bool:
    """Whether two incumbents are different schedules."""
    return one.schedule is None or other.schedule is None or one.schedule.key != other.schedule.key


def target_of(timelines: dict[str, Timeline], full: float, share: float) -> float:
    """The quality to reach: so far on the way from full fine-tuning to the best in any search's hand, full at least."""
    best = max(quality for line in timelines.values() for quality in qualities_of(line))
    return full + share * max(best - full, 0.0)


def qualities_of(line: Timeline) -> list[float]:
    """The known qualities of a search's incumbents, in order."""
    return [one.quality for one in line.incumbents if one.quality is not None]


def reached(line: Timeline, target: float) -> float | None:
    """Seconds until the schedule in hand first has the target quality, or None."""
    return next((one.seconds for one in line.incumbents if one.quality is not None and one.quality >= target), None)


def table_rows(words: str, repetitions: Sequence[tuple[dict[str, Timeline], float]], share: float) -> list[str]:
    """A row per search, and one for full fine-tuning; cells list the repetitions in order."""
    rows = []
    for name, called in SEARCHES.items():
        ends, wholes, times, ratios = [], [], [], []
        for timelines, full in repetitions:
            target = target_of(timelines, full, share)
            own, first = reached(timelines[name], target), reached(timelines[OURS], target)
            found = qualities_of(timelines[name])
            ends.append(f"{found[-1]:.4f}" if found else "none")
            wholes.append(f"{timelines[name].seconds:.0f} s")
            times.append("not reached" if own is None else f"{own:.0f} s")
            ratios.append(ratio(own, timelines[name].seconds, first, timelines[OURS].seconds))
        cells = [ends, wholes, times, [] if name == OURS else ratios]
        rows.append(f"| {words} | {called} | {' | '.join(', '.join(cell) for cell in cells)} |")
    rows.append(f"| {words} | full fine-tuning | {', '.join(f'{full:.4f}' for _, full in repetitions)} | | | |")
    return rows


def ratio(own: float | None, whole: float, first: float | None, first_whole: float) -> str:
    """How many times biotune's time a search took to the target; a bound where one of the two never reached it."""
    if own is None and first is None:
        return "neither"
    if own is None:
        return f"> {whole / (first or 1.0):.1f}×"
    return f"< {own / first_whole:.1f}×" if first is None else f"{own / first:.1f}×"


def described(case: str, seed: int, timelines: dict[str, Timeline], full: float, share: float) -> str:
    """A repetition in full: every incumbent with its time and quality."""
    told = [f"{case}, seed {seed}: full {full:.4f}, target {target_of(timelines, full, share):.4f}"]
    told += [
        f"  {name}: "
        + ", ".join(f"{one.seconds:.1f} s {one.quality:.4f}" for one in line.incumbents)
        + f"; {line.seconds:.1f} s"
        for name, line in timelines.items()
    ]
    return "\n".join(told)


if __name__ == "__main__":
    main()
