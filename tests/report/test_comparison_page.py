"""The page of comparisons."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from biotune.cli import main
from biotune.errors import RunFolderError
from biotune.report.comparison_page import Compared, average_ranks, check_comparable, read_compared, write_strategies

pytestmark = pytest.mark.usefixtures("drawn")


def entry(**means: float | None) -> Compared:
    strategies = {
        name: {"test": {"macro_accuracy": None if mean is None else {"mean": mean, "sd": 0.0, "values": [mean]}}}
        for name, mean in means.items()
    }
    return Compared(Path("x"), "digits", "glyphnet", {"strategies": strategies, "best": None}, 1)


def write_comparison_folder(folder: Path, dataset: str = "digits", state: str = "finished") -> Path:
    (folder / ".hydra").mkdir(parents=True)
    config = {"dataset": {"name": dataset}, "backbone": {"name": "<b>net</b>"}}
    (folder / ".hydra/config.yaml").write_text(yaml.safe_dump(config))
    (folder / "status.json").write_text(json.dumps({"command": "compare", "state": state}))
    costs = {"base_lr": 0.001, "trainable_share": 0.5, "trainings": 5, "epochs": 50, "seconds": 9.0}
    rows = [
        {"strategy": name, "seed": seed, **{f"test_{m}": score for m in ("macro_accuracy", "accuracy", "kappa", "f1")}, **costs}
        for name, score in (("full", 0.5), ("lora", 0.625), ("<i>own</i>", 0.4))
        for seed in (1, 2)
    ]
    pd.DataFrame(rows).to_csv(folder / "comparison.csv", index=False)
    return folder


def test_average_ranks_by_hand_with_ties_and_only_what_all_have() -> None:
    first, second = entry(full=0.9, lora=0.8, surgical=0.8, only=1.0), entry(surgical=0.7, lora=0.6, full=0.5, failed=None)
    # first: full 1, lora and surgical 2.5; second: surgical 1, lora 2, full 3
    assert average_ranks([first, second]) == {"surgical": 1.75, "full": 2.0, "lora": 2.25}
    assert list(average_ranks([first, second])) == ["surgical", "full", "lora"]


def test_datasets_without_a_common_strategy_are_refused() -> None:
    with pytest.raises(RunFolderError, match="have no strategy in common"):
        check_comparable([entry(full=0.5), entry(lora=0.5)])


def test_the_page_of_one_holds_table_plot_and_escapes_names(tmp_path: Path) -> None:
    compared = read_compared(write_comparison_folder(tmp_path / "c"))
    page = write_strategies([compared], tmp_path / "page.html", tmp_path / "plots").read_text()
    assert "62.5 ± 0.0" in page and "+12.5 (+12.5 to +12.5)" in page
    assert "<i>own</i>" not in page and "<b>net</b>" not in page
    assert "lora is better than every other" in page
    assert "Average ranks" not in page
    assert (tmp_path / "plots" / "cost-0.png").stat().st_size > 5000


def test_several_are_reported_together_with_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        write_comparison_folder(tmp_path / name, dataset=name)
    assert main(["report", "one", "two"]) == 0
    page = Path(capsys.readouterr().out.strip())
    assert page.name == "report-2-comparisons.html"
    text = page.read_text()
    assert "Average ranks" in text and text.index("lora") < text.index("full")


def test_an_unfinished_comparison_and_a_damaged_one_are_refused_in_a_line(tmp_path: Path, capsys) -> None:
    write_comparison_folder(tmp_path / "open", state="interrupted")
    assert main(["report", str(tmp_path / "open")]) == 2
    assert "is not finished (its state is interrupted)" in capsys.readouterr().err
    folder = write_comparison_folder(tmp_path / "cut")
    (folder / "comparison.csv").write_text("strategy,seed\nfull,1\n")
    assert main(["report", str(folder)]) == 2
    assert "is damaged (no column" in capsys.readouterr().err
