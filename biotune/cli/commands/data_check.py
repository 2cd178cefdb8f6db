"""`biotune data check`: verifies a dataset, and writes a page of what it has found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from biotune.cli.terminal.output_mode import OutputMode
from biotune.cli.terminal.view import View
from biotune.config.plugins import load_plugins
from biotune.config.schema import DataConfig
from biotune.errors import ConfigError, DataError, RunFolderError
from biotune.store.files import check_writable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from biotune.datasets.check import Finding
    from biotune.datasets.copies import Copies

_SHOWN = 10  # sets of copies by name, and broken images


def check_dataset(config: DataConfig, mode: OutputMode) -> bool:
    """Check a dataset, print a summary, and write the page.

    Args:
        config: The composed config.
        mode: How to print.

    Returns:
        Whether the copy is complete and every image can be decoded.

    Raises:
        ConfigError: The page cannot be written.
    """
    from biotune.datasets.check import check_copy
    from biotune.report.data_page import write_data_page

    page = _page(config.page)
    load_plugins(config.plugins)
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
        replaced = page is not None and page.is_file()
        if page is not None:
            write_data_page(page, finding, config.dataset)
        _tell(view, finding, config)
        view.fact("page", config.page)
        if page is not None:
            view.line(f"page       {config.page}{' (replaces the earlier one)' if replaced else ''}")
    return finding.is_whole


def _page(given: str | None) -> Path | None:
    """The file of the page, tried before images are decoded."""
    if given is None:
        return None
    page = Path(given).expanduser()
    try:
        if not page.parent.is_dir():
            raise RunFolderError(f"{page.parent} is not a folder")
        check_writable(page)
    except RunFolderError as error:
        raise ConfigError(f"page={given}: {str(error).rstrip('.')}. Give another file, or page=null for none.") from None
    return page


def _tell(view: View, finding: Finding, config: DataConfig) -> None:
    """Print what was found, the worst first, and the verdict last."""
    from biotune.report.data_remarks import on_broken, on_splits, remarks

    where = next((f" in {place}" for place in (config.dataset.root, config.dataset.hub) if place is not None), "")
    view.fact("whole", finding.is_whole)
    view.fact("broken", [{"picture": name, "reason": reason} for name, reason in finding.broken.items()])
    view.table(
        f"{config.dataset.name}{where}",
        ["what", "found", "official", "verdict"],
        [
            [count.what, count.found, count.official, None if count.official is None else "ok" if count.agrees else "differs"]
            for count in finding.counts
        ],
        name="counts",
    )
    for remark in finding.source.remarks:
        view.line(f"read as: {remark}")
    if sentence := on_splits(finding):
        view.line(sentence)
    for name, reason in list(finding.broken.items())[:_SHOWN]:
        view.line(f"broken: {name} ({reason})")
    if len(finding.broken) > _SHOWN:
        view.line(f"and {len(finding.broken) - _SHOWN:,} more; --json names all")
    _name_copies(view, finding)
    for one in remarks(finding):
        view.line(str(one))
    _tell_as_json(view, finding)
    if finding.passed_over:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(finding.passed_over.items()))
        view.line(f"Not among the images of the dataset: {kinds}.")
    if finding.is_whole:
        official = any(count.official is not None for count in finding.counts)
        view.line(f"Every image can be decoded{'; the copy is complete' if official else ''}.")
        return
    differing = ", ".join(count.what for count in finding.counts if not count.agrees)
    counts = f"Counts differ from the official ones: {differing}." if differing else ""
    broken = str(on_broken(finding, config.dataset.skip_broken)) if finding.broken else "0 broken images."
    view.line(f"{broken} {counts}".rstrip())


def _tell_as_json(view: View, finding: Finding) -> None:
    """What `--json` says besides counts and broken images."""
    view.fact("read_as", list(finding.source.remarks))
    view.fact("copies", _sets(finding, finding.copies))
    view.fact("near_duplicates", None if finding.near is None else _sets(finding, finding.near))
    view.fact(
        "classes",
        [
            {"class": one.name, **dict(zip(("train", "val", "test"), one.images, strict=True)), "lacks": one.lacks or None}
            for one in finding.classes
        ],
    )
    view.fact("refused", finding.refused or None)
    parts = None if finding.cut is None else (finding.cut.train, finding.cut.val, finding.cut.test)
    view.fact("splits", parts and {name: part.size for name, part in zip(("train", "val", "test"), parts, strict=True)})
    sizes = finding.sizes
    if sizes is not None:
        odd = {what: [finding.names[at] for at in getattr(sizes, what)] for what in ("long", "small", "large")}
        view.fact("sizes", {"median": sizes.median, "smallest": sizes.smallest, "largest": sizes.largest, **odd})
    view.fact("several_frames", list(finding.several))
    view.fact("passed_over", finding.passed_over)


def _sets(finding: Finding, found: Sequence[Copies]) -> list[dict[str, Any]]:
    return [
        {"pictures": [finding.names[at] for at in one.images], "across_splits": one.across, "labels_differ": one.disagree}
        for one in found
    ]


def _name_copies(view: View, finding: Finding) -> None:
    """Print the sets of images with the same pixels that spoil scores."""
    harmful = [one for one in finding.copies if one.across or one.disagree]
    for one in harmful[:_SHOWN]:
        where = [*(["in several splits"] if one.across else []), *(["with different labels"] if one.disagree else [])]
        view.line(f"copies {' and '.join(where)}: {', '.join(finding.names[at] for at in one.images)}")
    if len(harmful) > _SHOWN:
        view.line(f"and {len(harmful) - _SHOWN} more of these; --json names all")
