"""Draw the documentation's figure of the method, and copy the images of a real run beside it.

python scripts/draw_figures.py RUN_FOLDER
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from docs_tables import FIGURES
from matplotlib.figure import Figure

from biotune import Schedule, load_schedule

COPIED = ("schedule.png", "scores.png")
_BLUE, _GREY = "#0072b2", "0.75"


def main() -> None:
    """Write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--out", type=Path, default=FIGURES, help="where the figures go")
    arguments = parser.parse_args()
    arguments.out.mkdir(exist_ok=True)
    for name in COPIED:
        shutil.copy(arguments.run / "plots" / name, arguments.out / name)
    figure = draw_decoding(load_schedule(arguments.run / "best_schedule.yaml"))
    figure.savefig(arguments.out / "decoding.png", dpi=130, metadata={"Software": None})


def draw_decoding(schedule: Schedule) -> Figure:
    """A genotype and what it decodes to: importances over the threshold become rates, the others freeze."""
    if schedule.importances is None or schedule.threshold is None:
        raise SystemExit("the schedule does not come from a search: it has no importances.")
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    positions = range(len(schedule.blocks))
    colours = [_BLUE if selected else _GREY for selected in schedule.selected]
    left.bar(positions, schedule.importances, color=colours, width=0.7)
    left.axhline(schedule.threshold, color="0.2", linestyle="--", linewidth=1)
    left.text(len(positions) - 0.55, schedule.threshold, "threshold ε", ha="right", va="bottom")
    left.set_ylim(0, 1)
    left.set_ylabel("importance ν")
    left.set_title("genotype", loc="left")
    right.bar(positions, schedule.lr_weights, color=_BLUE, width=0.7)
    right.set_yscale("log")
    right.set_ylim(0.08, 12.5)
    right.axhline(1, color="0.2", linestyle=":", linewidth=1)
    for position, selected in zip(positions, schedule.selected, strict=True):
        if not selected:
            right.text(position, 0.1, "frozen", rotation=90, ha="center", va="bottom", color="0.4")
    right.set_ylabel("rate / base rate")
    right.set_title("layer schedule: rates where ν > ε", loc="left")
    for axes in (left, right):
        axes.set_xticks(list(positions), schedule.names, rotation=30)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()
