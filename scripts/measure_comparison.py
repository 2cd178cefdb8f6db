"""Run `biotune compare` on several tasks and write their table, with the baseline that validation data would choose.

Finished comparisons are not run again, interrupted ones go on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from comparisons import METRIC, Rows, best_on_average, chosen_baseline, compare, mean, mean_of, rows_of, spread
from docs_tables import ROOT, shown, write_between_marks

from biotune.report.statistics import best_of, by_seed, difference, differences, seeds_of, shared_by_seed, strategies_of

BEGIN, END = "<!-- measured by scripts/measure_comparison.py -->", "<!-- end of comparison -->"
TASKS = {
    "digits": [],
    "noise": ["dataset.shift=noise", "dataset.max_per_class=10"],
    "invert": ["dataset.shift=invert", "dataset.max_per_class=10"],
}
WORDS = {"digits": "clean digits", "noise": "noisy digits, ten a class", "invert": "inverted digits, ten a class"}


def main() -> None:
    """Compare what is missing, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "measure_comparison", help="folder of the comparisons")
    parser.add_argument("--docs", type=Path, help="page to write the table into, between the script's marks")
    parser.add_argument("overrides", nargs="*", help="further overrides of 'biotune compare'")
    given = parser.parse_args()
    lines: list[str] = []
    for task in given.tasks:
        folder = given.out / task
        compare(folder, [*TASKS[task], *given.overrides])
        lines += table(WORDS[task], rows_of(folder))
    text = "\n".join(lines).strip()
    print(text)
    if given.docs is not None:
        write_between_marks(given.docs, text, BEGIN, END)


def table(title: str, rows: Rows) -> list[str]:
    """A task's table, best first."""
    names, seeds = strategies_of(rows), seeds_of(rows)
    failed = {name: count for name in names if (count := len(seeds) - len(by_seed(rows, name, METRIC)))}
    scores = shared_by_seed(rows, METRIC)
    over = differences({name: own for name, own in scores.items() if name != "full"}, scores.get("full", {}))
    chosen = chosen_baseline(rows)
    best = best_of(rows)
    ranked = sorted(names, key=lambda name: -mean(scores.get(name, {})))
    lines = [
        f"**{title}**",
        "",
        "| strategy | test macro accuracy | over full fine-tuning (simultaneous 95 % interval) "
        "| trained | trainings | epochs |",
        "|---|---|---|---|---|---|",
    ]
    for name in ranked:
        own = [row for row in rows if row["strategy"] == name]
        share, trainings, epochs = (mean_of(own, column) for column in ("trainable_share", "trainings", "epochs"))
        star = " *" if name == best else ""
        lines.append(
            f"| {name}{star} | {spread(scores.get(name, {}))} | {shown(over[name]) if name in over else ''} "
            f"| {100 * share:.0f} % | {trainings:.0f} | {epochs:.0f} |"
        )
    lines.append("")
    if "biotune" in scores and len(scores) > 1:
        steady = best_on_average([row for row in rows if row["strategy"] in scores])
        beside = {seed: chosen[seed] for seed in scores["biotune"]}
        lines.append(
            f"Over {steady}, the baseline with the best mean validation score, biotune is "
            f"{shown(difference(scores['biotune'], scores[steady]))}. Keeping in each seed whichever of the "
            f"{len(names) - 1} baselines' models validates best reaches {spread(beside)}; biotune's one model over that: "
            f"{shown(difference(scores['biotune'], beside))} (95 % intervals of each difference alone)."
        )
    marked = "* better than every other, all paired intervals above 0" if best else "no strategy is better than every other"
    counted = len(next(iter(scores.values()), {}))
    over_seeds = (
        f"{len(seeds)} seeds" if counted == len(seeds) else f"{counted} of {len(seeds)} seeds on which all have a score"
    )
    lines.append(f"{over_seeds}, each with its own splits, search and training; {marked}.")
    if failed:
        lines.append(f"Failed: {', '.join(f'{name} on {count} of {len(seeds)} seeds' for name, count in failed.items())}.")
    lines.append("")
    return lines


if __name__ == "__main__":
    main()
