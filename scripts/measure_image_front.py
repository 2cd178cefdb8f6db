"""Test the front of one search on images: its members beside LoRA, linear probing and full fine-tuning, by trained share.

Every member is trained anew by `biotune train` with the settings and the split of the search; finished runs are not made again.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

from comparisons import settings_of
from docs_tables import DOCS, ROOT, write_between_marks

from biotune.cli import main as biotune

METHODS = {"linear_probe": "linear probing", "lora": "LoRA", "full": "full fine-tuning"}


def main() -> None:
    """Search, train what is missing, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="panel_stamps", help="name of an experiment")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split and of the search")
    parser.add_argument("--members", type=int, default=5, help="most members of the front, spread evenly over it")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "measure_image_front", help="folder of the runs")
    parser.add_argument("--docs", type=Path, nargs="?", const=DOCS / "evidence" / "fronts.md", help="page to write into")
    given = parser.parse_args()
    place = given.out.absolute() / given.task / f"seed-{given.seed}"
    task = [*settings_of(given.task), f"dataset.split_seed={given.seed}"]
    search = place / "search"
    run(search, ["run", *task, f"seed={given.seed}", "evolution.objectives=[accuracy,trainable_params]"])
    rows = []
    for member in spread(members_of(search), given.members):
        number = member["number"]
        folder, file = place / f"member-{number}", place / f"member-{number}.yaml"
        if not file.is_file():
            told(["schedules", str(search), "--write", str(number), str(file)])
        run(folder, ["train", *task, "strategy=schedule", f"schedule={file}"])
        rows.append(row(f"member {number}" + (", the knee" if member["knee"] else ""), folder, member["predicted"]))
    for name, words in METHODS.items():
        folder = place / name
        # a probe that starts fresh does not come near the regression within so few epochs
        start = ["training.head_start=probe"] if name == "linear_probe" else []
        run(folder, ["train", *task, f"strategy={name}", *start])
        rows.append(row(words, folder, None))
    text = table(sorted(rows, key=lambda one: one[1]))
    print(text)
    if given.docs is not None:
        write_between_marks(given.docs, text, "<!-- measured by scripts/measure_image_front.py -->", "<!-- end of images -->")


def told(arguments: list[str]) -> str:
    """What a command prints.

    Raises:
        SystemExit: It fails.
    """
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        status = biotune(arguments)
    if status:
        raise SystemExit(f"biotune {' '.join(arguments)}: failed.")
    return out.getvalue()


def run(folder: Path, arguments: list[str]) -> None:
    """Run a command that writes a folder, unless it has written it."""
    if not (folder / "result.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        told([*arguments, f"hydra.run.dir={folder}", "-q"])


def members_of(search: Path) -> list[dict[str, Any]]:
    """The members of a front, those that train the fewest parameters first."""
    members: list[dict[str, Any]] = json.loads(told(["schedules", str(search), "--json"]))["schedules"]
    return sorted(members, key=lambda one: one["trainable_params"])


def spread(members: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """At most so many members: the extremes, the knee, and others at even steps between them."""
    if len(members) <= most:
        return members
    at = {round(step * (len(members) - 1) / (most - 1)) for step in range(most)}
    knee = next((index for index, one in enumerate(members) if one["knee"]), None)
    if knee is not None and knee not in at:
        at.remove(min(sorted(at)[1:-1], key=lambda index: abs(index - knee)))
        at.add(knee)
    return [members[index] for index in sorted(at)]


def row(words: str, folder: Path, predicted: float | None) -> tuple[str, float, str, float, float, int]:
    """A method: its name, trained share, what the search predicted, and mean, sd and number of its test scores."""
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    score = result["test"]["macro_accuracy"]
    share = result["trainable_share"]
    return words, share, "" if predicted is None else f"{predicted:.3f}", score["mean"], score["sd"], len(score["values"])


def table(rows: list[tuple[str, float, str, float, float, int]]) -> str:
    """The rows as a table."""
    lines = [
        f"| {words} | {share:.1%} | {predicted} | {mean:.3f} ± {sd:.3f} |" for words, share, predicted, mean, sd, _ in rows
    ]
    return "\n".join(
        [
            "| trained with | trained share | predicted by the search | test macro accuracy |",
            "|---|---|---|---|",
            *lines,
            "",
            f"Mean ± sd over {rows[0][-1]} training seeds on one split; the prediction is of validation scores.",
        ]
    )


if __name__ == "__main__":
    main()
