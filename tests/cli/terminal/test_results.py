"""What is printed after a run: one name for what is returned, in the table and where its failures are told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from biotune.cli.terminal.results import show_run


class Heard:
    """Stands in for the view: notes the rows of the scores and the failures."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.failed: dict[str, int] = {}

    def scores(self, methods: dict[str, Any], failed: dict[str, int]) -> None:
        self.rows, self.failed = list(methods), dict(failed)

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None


@pytest.mark.parametrize(
    ("returned", "row"),
    [
        (None, "biotune"),
        ({"schedule": "7", "strategy": "biotune", "val_macro_accuracy": 0.8}, "biotune"),
        ({"schedule": "lp_ft", "strategy": "lp_ft", "val_macro_accuracy": 0.8}, "biotune (lp_ft)"),
    ],
)
def test_the_row_of_what_is_returned_names_a_baseline(returned: dict[str, Any] | None, row: str) -> None:
    score = {"macro_accuracy": {"values": [0.5]}, "accuracy": {"values": [0.5]}}
    document: dict[str, Any] = {"confirmed": {}, "test": score, "baselines": {"full": score}, "advice": [], "final": {}}
    document["failed"] = {"biotune": 1, "full": 0}
    if returned is not None:
        document["returned"] = returned
    view = Heard()
    result = SimpleNamespace(document=document, summary=[], metric="acc", schedule=None, parameters={}, base_lr=0.1)
    show_run(view, result)  # type: ignore[arg-type]
    assert view.rows == [row, "full"]
    assert view.failed == {row: 1, "full": 0}
