"""`biotune data check`: verifies a local copy of a dataset."""

from __future__ import annotations

from biotune.cli.terminal.output_mode import OutputMode
from biotune.cli.terminal.view import View
from biotune.config.plugins import load_plugins
from biotune.config.schema import DataConfig
from biotune.errors import DataError


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
        if finding.is_whole:
            view.line("Every image can be decoded; the copy is complete.")
        else:
            differing = ", ".join(count.what for count in finding.counts if not count.agrees)
            counts = f" Counts differ from the official ones: {differing}." if differing else ""
            view.line(f"{len(finding.broken):,} broken images.{counts}")
    return finding.is_whole
