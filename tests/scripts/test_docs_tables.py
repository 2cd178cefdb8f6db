"""Tables in the documentation: only what stands between the marks changes, and intervals are Student's."""

from __future__ import annotations

from pathlib import Path

import docs_tables
import pytest

BEGIN, END = "<!-- begin -->", "<!-- end -->"


def test_the_interval_is_students() -> None:
    # differences 0.01, 0.02, 0.03: mean 0.02, sd 0.01, n = 3: half width 4.3027 * 0.01 / sqrt(3) = 0.0248
    assert docs_tables.paired_interval([0.51, 0.62, 0.73], [0.5, 0.6, 0.7]) == "+0.0200 (-0.0048 to +0.0448)"


def test_values_that_are_no_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="2 values cannot be paired with 1"):
        docs_tables.paired_interval([0.5, 0.6], [0.5])


def test_only_what_stands_between_the_marks_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\n\nold\n\n{END}\nafter\n")
    docs_tables.write_between_marks(page, "new", BEGIN, END)
    assert page.read_text() == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"


def test_a_page_without_marks_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN} but no end")
    with pytest.raises(SystemExit, match="has no marks"):
        docs_tables.write_between_marks(page, "new", BEGIN, END)
    assert page.read_text() == f"{BEGIN} but no end"
