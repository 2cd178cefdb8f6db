"""What the scripts share that write measured tables into the documentation: where it lies, the marks, and intervals as text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from biotune.report.statistics import Difference, difference

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
FIGURES = DOCS / "figures"


def around_marks(page: Path, begin: str, end: str) -> tuple[str, str]:
    """What stands before and after two marks of a page.

    Raises:
        SystemExit: The file lacks a mark.
    """
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{page}: has no marks {begin} and {end}.")
    return before, after


def write_between_marks(page: Path, text: str, begin: str, end: str) -> None:
    """Replace what stands between two marks.

    Args:
        page: A file that has both marks.
        text: The new content.
        begin: The mark before it.
        end: The mark after it.

    Raises:
        SystemExit: The file lacks a mark.
    """
    before, after = around_marks(page, begin, end)
    # markdown starts a table only after an empty line
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def shown(over: Difference) -> str:
    """A paired difference with its interval, as text."""
    return f"{over.mean:+.4f} ({over.low:+.4f} to {over.high:+.4f})"


def paired_interval(own: Sequence[float], other: Sequence[float]) -> str:
    """Mean of the differences of paired values and its pointwise 95 % interval by Student's t, as text.

    Args:
        own: A value for each seed.
        other: The values that are subtracted, in the same order.
    """
    if len(own) != len(other):
        raise ValueError(f"{len(own)} values cannot be paired with {len(other)}.")
    return shown(difference(dict(enumerate(own)), dict(enumerate(other))))
