"""Run `biotune compare` on several tasks and write their table, with the baseline that validation data would choose.

Finished comparisons are not run again, interrupted ones go on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from comparisons import METRIC, Rows, best_on_average, chosen_baseline, compare, mean, mean_of, rows_of, spread
from docs_tables import ROOT, shown, write_between_marks

from biotune.report.statistics import best_of, by_seed, difference

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
    names = list(dict.fromkeys(row["strategy"] for row in rows))
    scores = {name: by_seed(rows, name, METRIC) for name in names}
    chosen = chosen_baseline(rows)
    best = best_of(rows)
    ranked = sorted(names, key=lambda name: -mean(scores[name]))
    lines = [
        f"**{title}**",
        "",
        "| strategy | test macro accuracy | over full fine-tuning (95 % interval) | trained | trainings | epochs |",
        "|---|---|---|---|---|---|",
    ]
    for name in ranked:
        own = [row for row in rows if row["strategy"] == name]
        over = "" if name == "full" else shown(difference(scores[name], scores["full"]))
        share, trainings, epochs = (mean_of(own, column) for column in ("trainable_share", "trainings", "epochs"))
        star = " *" if name == best else ""
        lines.append(
            f"| {name}{star} | {spread(scores[name])} | {over} | {100 * share:.0f} % | {trainings:.0f} | {epochs:.0f} |"
        )
    lines.append("")
    if "biotune" in scores and chosen:
        steady = best_on_average(rows)
        lines.append(
            f"Over {steady}, the baseline with the best mean validation score, biotune is "
            f"{shown(difference(scores['biotune'], scores[steady]))}. Keeping in each seed whichever of the "
            f"{len(names) - 1} baselines' models validates best reaches {spread(chosen)}; biotune's one model over that: "
            f"{shown(difference(scores['biotune'], chosen))}."
        )
    marked = "* better than every other, all paired intervals above 0" if best else "no strategy is better than every other"
    lines += [f"{len(scores['full'])} seeds, each with its own splits, search and training; {marked}.", ""]
    return lines


if __name__ == "__main__":
    main()
