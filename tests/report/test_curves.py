"""The learning curves of the final training runs, and the found schedule beside the baselines."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from made_up import change_json, make_run
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from biotune.errors import RunFolderError
from biotune.report.curves import curves_of, draw_curves
from biotune.report.read import read_run
from biotune.report.run import draw, write_report
from biotune.report.side_by_side import _cells, draw_side_by_side, shown_lr, side_by_side
from biotune.report.style import biotune_style

pytestmark = pytest.mark.usefixtures("drawn")


def test_folders_of_earlier_versions_have_neither(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    assert not set(draw(read_run(folder))) & {"curves", "losses", "side-by-side"}
    page = write_report(read_run(folder)).read_text(encoding="utf-8")
    assert "The final training runs" not in page and "Beside the baselines" not in page


def test_a_complete_folder_has_both_and_is_drawn_alike_twice(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", complete=True)
    first = write_report(read_run(folder)).read_bytes()
    assert write_report(read_run(folder)).read_bytes() == first
    assert {"curves.png", "losses.png", "side-by-side.png"} <= {path.name for path in (folder / "plots").iterdir()}
    assert b"The final training runs" in first and b"Beside the baselines" in first
    assert set(draw(read_run(make_run(tmp_path / "trained", command="train", complete=True)))) >= {"curves", "losses"}


def test_the_drawing_says_the_best_epoch_of_every_seed(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", seeds=2, complete=True)
    table = pd.read_csv(folder / "curves.csv")
    own = table["strategy"] == "biotune"
    table.loc[own & (table["seed"] == 0), "val_macro_accuracy"] = [0.5, 0.875, *[0.7] * 8]
    table.loc[own & (table["seed"] == 1), "val_macro_accuracy"] = [0.5, *[0.6] * 8, 0.75]
    table.to_csv(folder / "curves.csv", index=False)
    accuracy, _ = draw_curves(read_run(folder))
    assert "evolved schedule: 87.5 %, 75.0 %; full fine-tuning: " in accuracy.says


def test_a_returned_baseline_has_one_set_of_curves(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", complete=True)
    assert list(curves_of(read_run(folder))) == ["biotune", "full", "linear_probe"]
    confirmed = json.loads((folder / "result.json").read_text(encoding="utf-8"))["confirmed"]
    change_json(folder / "result.json", confirmed=confirmed | {"chosen": "full", "strategy": "full"})
    assert list(curves_of(read_run(folder))) == ["biotune", "linear_probe"]


def test_curves_of_resumed_old_runs_may_lack_the_losses(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", complete=True)
    pd.read_csv(folder / "curves.csv").assign(train_loss=float("nan")).to_csv(folder / "curves.csv", index=False)
    assert [drawing.name for drawing in draw_curves(read_run(folder))] == ["curves"]


def test_long_curves_leave_the_page_small(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", seeds=2, complete=True)
    rows = [
        {"strategy": name, "seed": seed, "epoch": epoch, "train_loss": 1 / epoch, "val_loss": epoch % 7 + 1.0}
        | {"val_macro_accuracy": epoch % 10 / 10}
        for name in ("biotune", "full", "linear_probe")
        for seed in range(2)
        for epoch in range(1, 5001)
    ]
    pd.DataFrame(rows).to_csv(folder / "curves.csv", index=False)
    assert sum(len(drawing.svg) for drawing in draw_curves(read_run(folder))) < 300_000


def test_a_cut_off_table_is_named(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", complete=True)
    (folder / "curves.csv").write_text("strategy,seed\nbiotune,1\n")
    with pytest.raises(RunFolderError, match=r"curves\.csv: is damaged \(no column epoch\)"):
        read_run(folder)


def test_the_evolved_schedule_stands_before_the_baselines_at_the_rates_they_were_trained_with(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run", blocks=["stem", "body", "head"], complete=True))
    own, full, probe = side_by_side(run)
    assert [one.name for one in (own, full, probe)] == ["evolved schedule", "full fine-tuning", "linear probing"]
    assert own.lrs == pytest.approx([1e-3 * weight for weight in run.schedule.lr_weights])
    assert (full.lrs, probe.lrs) == ((3e-3,) * 3, (0.0, 0.0, 0.01))
    assert (full.trained, probe.trained) == (700, 400)
    assert (own.returned, full.returned) == (True, False)
    assert own.score is not None and full.score is not None
    assert own.score.mean - full.score.mean == pytest.approx(0.05)
    assert (full.trials, full.epochs, full.seconds) == (2, 9.0, 2.0)
    assert (probe.score, probe.trials) == (None, 1)
    drawing = draw_side_by_side(run)
    assert drawing is not None
    assert "linear probing: stem frozen, body frozen, head at 0.01" in drawing.says
    assert "out after 1 of 2" in write_report(run).read_text(encoding="utf-8")


def test_equal_neighbours_share_a_box_where_blocks_are_many() -> None:
    lrs = (0.0, 0.0, 0.01, 0.01, 0.01, 0.0)
    assert list(_cells(lrs, apart=False)) == [(0, 2, 0.0), (2, 3, 0.01), (5, 1, 0.0)]
    assert list(_cells(lrs, apart=True)) == [(at, 1, lr) for at, lr in enumerate(lrs)]


def test_a_schedule_that_the_final_models_prefer_is_the_one_shown(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", complete=True)
    confirmed = json.loads((folder / "result.json").read_text(encoding="utf-8"))["confirmed"]
    second = str(int(confirmed["chosen"]) - 1)
    returned = {"schedule": second, "strategy": "biotune", "seed": 1, "val_macro_accuracy": 0.9, "finalists": 5, "models": 15}
    change_json(folder / "result.json", returned=returned)
    own, *_ = side_by_side(read_run(folder))
    assert (own.returned, own.remark) == (True, "")
    confirmed["schedules"][second] |= {"unfreezing": "last_to_first", "head_start": "probe"}
    change_json(folder / "result.json", confirmed=confirmed)
    assert side_by_side(read_run(folder))[0].remark == "unfreezing: last_to_first, head_start: probe"
    assert own.lrs == tuple(confirmed["schedules"][second]["lr"].values())


@pytest.mark.parametrize(
    ("lr", "text"),
    [(0.003, ".003"), (0.00126, ".0013"), (0.0004, "4e-4"), (0.5, ".5"), (1.0, "1"), (12.5, "12.5"), (3e-5, "3e-5")],
)
def test_learning_rates_are_short(lr: float, text: str) -> None:
    assert shown_lr(lr) == text


def test_no_text_of_the_drawing_sticks_out_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run(tmp_path / "run", complete=True)
    confirmed = json.loads((folder / "result.json").read_text(encoding="utf-8"))["confirmed"]
    for one in confirmed["schedules"].values():
        one["lr"] = dict.fromkeys(one["lr"], 0.00123) | {"head": 0.00457}
    change_json(folder / "result.json", confirmed=confirmed)
    figures: list[Figure] = []
    monkeypatch.setattr("biotune.report.side_by_side.finish", lambda figure, name, says: figures.append(figure))
    with biotune_style():
        draw_side_by_side(read_run(folder))
    (figure,) = figures
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    shown = [one for one in figure.findobj(Text) if one.get_text() and one.get_visible()]
    assert len(shown) > 10
    for text in shown:
        box = text.get_window_extent(canvas.get_renderer())
        assert box.x0 >= -1 and box.x1 <= figure.bbox.x1 + 1 and box.y0 >= -1 and box.y1 <= figure.bbox.y1 + 1, text
