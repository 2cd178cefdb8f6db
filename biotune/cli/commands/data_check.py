"""`biotune data check`: verifies a local copy of a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from biotune.cli.terminal.output_mode import OutputMode
from biotune.cli.terminal.view import View
from biotune.config.plugins import load_plugins
from biotune.config.schema import DataConfig
from biotune.errors import DataError

if TYPE_CHECKING:
    from biotune.datasets.check import Finding

_SHOWN = 10  # sets of copies by name


def check_dataset(config: DataConfig, mode: OutputMode) -> bool:
    """Check a local copy and print the counts and the broken images.

    Args:
        config: The composed config.
        mode: How to print.

    Returns:
        Whether the copy is complete and every image can be decoded.
    """
    from biotune.datasets.check import check_copy

    load_plugins(config.plugins)
    where = f" in {config.dataset.root}" if config.dataset.root is not None else ""
    with View(mode=mode) as view:
        view.fact("dataset", config.dataset.name)
        try:
            finding = check_copy(config.dataset, view.decoding)
        except DataError as error:
            view.fact("whole", False)
            view.fact("problems", str(error).splitlines())
            for line in str(error).splitlines():
                view.line(line)
            return False
        view.fact("whole", finding.is_whole)
        view.fact("broken", [{"picture": name, "reason": reason} for name, reason in finding.broken.items()])
        view.table(
            f"{config.dataset.name}{where}",
            ["what", "found", "official", "verdict"],
            [
                [
                    count.what,
                    count.found,
                    count.official,
                    None if count.official is None else "ok" if count.agrees else "differs",
                ]
                for count in finding.counts
            ],
            name="counts",
        )
        for name, reason in finding.broken.items():
            view.line(f"broken: {name} ({reason})")
        _tell_of_copies(view, finding)
        if finding.passed_over:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(finding.passed_over.items()))
            view.line(f"Passed over, as they are no images of the dataset: {kinds}.")
        view.fact("passed_over", finding.passed_over)
        if finding.is_whole:
            view.line("Every image can be decoded; the copy is complete.")
        else:
            differing = ", ".join(count.what for count in finding.counts if not count.agrees)
            counts = f" Counts differ from the official ones: {differing}." if differing else ""
            view.line(f"{len(finding.broken):,} broken images.{counts}")
    return finding.is_whole


def _tell_of_copies(view: View, finding: Finding) -> None:
    """Print sets of images with the same pixels: those that spoil scores by name, of the others the number."""
    view.fact(
        "copies",
        [
            {"pictures": [finding.names[at] for at in one.images], "across_splits": one.across, "labels_differ": one.disagree}
            for one in finding.copies
        ],
    )
    harmful = [one for one in finding.copies if one.across or one.disagree]
    for one in harmful[:_SHOWN]:
        where = [*(["in several splits"] if one.across else []), *(["with different labels"] if one.disagree else [])]
        view.line(f"copies {' and '.join(where)}: {', '.join(finding.names[at] for at in one.images)}")
    if len(harmful) > _SHOWN:
        view.line(f"and {len(harmful) - _SHOWN} more of these; --json names all")
    if rest := len(finding.copies) - len(harmful):
        are = "1 image is" if rest == 1 else f"{rest:,} images are"
        view.line(f"{are} there more than once in one class; what is held out keeps copies on one side.")
    if across := sum(one.across for one in finding.copies):
        lie = "1 image lies" if across == 1 else f"{across:,} images lie"
        view.line(f"{lie} in more than one split, so that scores are too good. Keep one copy of each.")
