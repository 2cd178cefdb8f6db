"""The page of a search that was asked and told: from its folder, finished or not, with and without sizes of the blocks."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import pytest

import biotune
from biotune.cli import main
from biotune.report.plots import draw_cost
from biotune.report.read import Search
from biotune.report.search_page import read_asked_search
from biotune.report.style import Drawing

SIZED = [biotune.Block(name, (f"net.{name}",), size) for name, size in (("stem", 10), ("middle", 30), ("head", 60))]
BARE = [biotune.Block(block.name, block.modules) for block in SIZED]


def score_of(trial: biotune.Trial) -> float:
    if trial.number == 3:
        raise RuntimeError("diverged")
    return -20 + zlib.crc32(trial.schedule.key.encode()) / 2**32


def page_of(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    return (folder / "report.html").read_text()


def test_the_page_shows_the_best_schedule_and_the_scores_as_they_were_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = biotune.search(score_of, SIZED, 24, catch=RuntimeError, folder=tmp_path, seed=7)
    page = page_of(tmp_path, capsys)
    best, found = search.best.schedule, read_asked_search(tmp_path)
    assert found.schedule == best and found.state == "finished"
    trained = sum(block.parameters or 0 for block, selected in zip(SIZED, best.selected, strict=True) if selected)
    assert found.share == trained / 100
    scores = found.search.generations.query("status == 'ok'")["val_accuracy"]
    assert "The search is over" in page
    assert f"go from {scores.min():.4g} to {scores.max():.4g}" in page and scores.max() < -19
    for block, weight in zip(SIZED, best.lr_weights, strict=True):
        assert f"{weight:.2f}" in page if weight else "frozen" in page
        assert block.modules[0] in page
    assert "<dt>failed</dt><dd>1</dd>" in page and "seed=7" in page
    assert "%" not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL).partition("Best survivor by generation")[2][:40]
    assert {path.stem for path in (tmp_path / "plots").iterdir()} == {"schedule", "fitness", "importance", "cost"}


def test_the_share_that_is_marked_is_that_of_the_best(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[float, str]] = []

    def note(share: float, search: Search, whose: str = "returned") -> Drawing:
        told.append((share, whose))
        return draw_cost(share, search, whose)

    monkeypatch.setattr("biotune.report.search_page.draw_cost", note)
    search = biotune.search(score_of, SIZED, 16, folder=tmp_path, catch=RuntimeError)
    assert main(["report", str(tmp_path)]) == 0
    trained = sum(block.parameters for block, on in zip(SIZED, search.best.schedule.selected, strict=True) if on)
    assert told == [(trained / 100, "best")]


def test_a_search_that_is_not_over_and_knows_no_sizes_has_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with biotune.Search(BARE, evaluations=24, folder=tmp_path) as search:
        search.tell(search.ask(), 0.5)
        assert main(["report", str(tmp_path)]) != 0
        assert "no complete generation with a score yet" in capsys.readouterr().err
        for _ in range(14):
            search.tell(search.ask(), 0.5)
    page = page_of(tmp_path, capsys)
    assert "not over (interrupted)" in page and "sizes are not known" in page
    assert not (tmp_path / "plots" / "cost.png").exists()


def test_other_commands_name_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        biotune.search(score_of, SIZED, 8, catch=RuntimeError, folder=tmp_path / name)
    assert main(["report", str(tmp_path / "a"), str(tmp_path / "b")]) != 0
    assert "is a search without a test; name it alone" in capsys.readouterr().err
    assert main(["resume", str(tmp_path / "a")]) != 0
    assert "run the program that began it again" in capsys.readouterr().err
    (tmp_path / "a" / "search.yaml").write_text("settings: 1\n")
    assert main(["report", str(tmp_path / "a")]) != 0
    said = capsys.readouterr().err
    assert "search.yaml: is damaged" in said and said.count("\n") == 1


def test_a_search_for_trade_offs_shows_its_front_as_it_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def score(trial: biotune.Trial) -> float:  # the more is trained the better: every size is on the front
        return -20 + sum(size for size, selected in zip((10, 30, 60), trial.schedule.selected, strict=True) if selected)

    objectives = ["accuracy", "trainable_params"]
    search = biotune.search(score, SIZED, 24, folder=tmp_path, objectives=objectives)
    page = page_of(tmp_path, capsys)
    assert (tmp_path / "plots" / "front-trainable-params.png").is_file()
    assert page.count("Trade-offs") == 1 and f"of the {len(search.front)} schedules on the front" in page
    table = page.partition("schedules on the front")[2].partition("</table>")[0]
    rows = re.findall(
        r'<th scope="row"><span>(\d+)( <small>knee</small>)?.*?predicted"><span>([^<]+)<.*?<span>([\d,]+)<', table, re.DOTALL
    )
    told = [
        (str(number), f"{one.score:.4g}", f"{one.costs['trainable_params']:,.0f}", one.knee)
        for number, one in enumerate(search.front, 1)
    ]
    assert {(number, score, size, bool(knee)) for number, knee, score, size in rows} <= set(told) and len(rows) > 1
    assert "confirmed" not in table and "in the confirmation" not in page
    assert sum(bool(knee) for _, knee, _, _ in rows) == 1


def test_a_damaged_front_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    biotune.search(score_of, SIZED, 8, catch=RuntimeError, folder=tmp_path, objectives=["accuracy", "trainable_params"])
    (tmp_path / "front.csv").write_text("number,accuracy\n1,0.5\n")
    assert main(["report", str(tmp_path)]) != 0
    said = capsys.readouterr().err
    assert "front.csv" in said and said.count("\n") == 1
