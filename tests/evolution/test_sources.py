"""Tests of the sources of a warm start: what is read from folders and files, what is kept, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import biotune
from biotune.errors import ConfigError, RunFolderError
from biotune.evolution.loop import GenerationalSearch
from biotune.evolution.sources import read_sources, sources_in
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule
from biotune.schedule.schedule_file import save_text
from biotune.store.files import GENERATIONS, SCHEDULE, WARM_START

SMALL = tuple(Block(name, (name,)) for name in ("stem", "body", "head"))
LARGE = tuple(Block(name, (name,)) for name in ("a", "b", "c", "d", "head"))


def score(trial: biotune.Trial) -> float:
    """Best where the last two blocks are trained, and the first is not."""
    first, *others = trial.schedule.lr_weights
    return 0.5 - 0.3 * (first > 0) + 0.2 * sum(weight > 0 for weight in others) / len(others)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("earlier") / "search"
    biotune.search(score, SMALL, 20, seed=1, folder=folder)
    return folder


def test_a_search_of_another_network_is_matched(earlier: Path) -> None:
    (source,) = read_sources([str(earlier)], LARGE)
    assert (source.blocks, source.name) == (3, str(earlier))
    assert 8 <= len(source.observations) <= 20
    best = source.schedules[0]
    assert best.blocks == LARGE
    assert best.selected == (False, False, True, True, True)  # b is as near to the first block as to the second
    by_key = {one.schedule.key: one.fitness for one in source.observations}
    assert by_key[best.key] == pytest.approx(0.3)
    assert source.in_words == f"{earlier}: a network with 3 blocks; {len(source.schedules)} schedules, " + (
        f"{len(source.observations)} evaluations"
    )


def test_an_unfinished_search_is_read_too(earlier: Path, tmp_path: Path) -> None:
    rows = (earlier / GENERATIONS).read_text().splitlines(keepends=True)
    (tmp_path / GENERATIONS).write_text("".join(rows[:6]))
    (source,) = read_sources([str(tmp_path)], SMALL)
    assert 1 <= len(source.observations) <= 5
    assert source.schedules


def test_a_schedule_file_is_a_source_without_evaluations(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(save_text(Schedule(SMALL, (0.0, 1.0, 4.0)), 0.001, {"backbone": "net", "dataset": "birds"}))
    (source,) = read_sources([str(file)], LARGE)
    assert source.in_words == f"{file}: net with 3 blocks on birds; 1 schedule, 0 evaluations"
    assert source.schedules[0].lr_weights == pytest.approx((0.0, 0.0, 1.0, 1.0, 4.0))


def test_the_best_schedules_are_the_first_candidates(earlier: Path) -> None:
    sources = read_sources([str(earlier)], LARGE)
    settings = biotune_settings(population_size=12, elites=4)
    first = GenerationalSearch(settings, LARGE, 0, sources=sources).ask().schedules
    assert [one.selected for one in first[:3]] == [one.selected for one in sources[0].schedules[:3]]
    for own, theirs in zip(first[:3], sources[0].schedules, strict=False):
        inside = [min(max(weight, 0.4), 10.0) if weight else 0.0 for weight in theirs.lr_weights]
        assert own.lr_weights == pytest.approx(inside, rel=0.02)  # a threshold of 0.3 leaves no smaller weights
    plain = GenerationalSearch(settings, LARGE, 0).ask().schedules
    assert [one.key for one in first[3:10]] == [one.key for one in plain[:7]]  # the usual methods follow


def biotune_settings(**more: object):
    from biotune.evolution.settings import settings_of

    return settings_of(None, 0, 30, "none", "fresh", more).evolution


def test_a_search_takes_it_and_goes_on_without_the_source(earlier: Path, tmp_path: Path) -> None:
    source, folder = tmp_path / "source", tmp_path / "next"
    shutil.copytree(earlier, source)
    settings = {"evaluations": 12, "seed": 3, "folder": folder, "warm_start": [source]}
    begun = biotune.Search(LARGE, **settings)
    asked = [begun.ask() for _ in range(2)]
    begun.tell(asked[0], 0.5)
    begun.close()
    shutil.rmtree(source)
    with biotune.Search(LARGE, **settings) as resumed:
        assert resumed.ask().schedule.key == asked[1].schedule.key
    with pytest.raises(RunFolderError, match="warm_start"):
        biotune.Search(LARGE, **{**settings, "warm_start": []})
    with pytest.raises(ConfigError, match=r"^warm_start=.*source: no such file or folder"):
        biotune.Search(LARGE, evaluations=12, warm_start=[str(source)])


def test_what_was_taken_reads_back_exactly(earlier: Path, tmp_path: Path) -> None:
    taken = sources_in(tmp_path, [str(earlier)], LARGE)
    assert sources_in(tmp_path, ["gone"], LARGE) == taken
    assert sources_in(tmp_path / "other", [], LARGE) == []
    (tmp_path / WARM_START).write_text('{"sources": [{"name": 1}]}')
    with pytest.raises(RunFolderError, match=r"warm_start.json: is damaged"):
        sources_in(tmp_path, ["gone"], LARGE)


def bad_sources(folder: Path, earlier: Path) -> dict[str, str]:
    """Kinds of bad sources, each with a word of its error."""
    for name in ("empty", "begun/.hydra", "trained", "torn", "nothing_trained", "strange"):
        (folder / name).mkdir(parents=True)
    (folder / "begun/.hydra/config.yaml").write_text("seed: 0\n")
    shutil.copy(earlier / SCHEDULE, folder / "trained")
    head, first, *_ = (earlier / GENERATIONS).read_text().splitlines()
    (folder / "torn" / GENERATIONS).write_text(f"{head}\n{first[: len(first) // 3]}\n")
    column = head.split(",").index("status")
    cells = first.split(",")
    cells[column] = "failed"
    (folder / "nothing_trained" / GENERATIONS).write_text(f"{head}\n{','.join(cells)}\n")
    (folder / "strange" / GENERATIONS).write_text("one,two\n1,2\n")
    (folder / "genotypes.csv").write_text("stem,head,threshold\n0.5,0.5,0.1\n")
    (folder / "text.yaml").write_text("hello\n")
    (folder / "frozen.yaml").write_text(save_text(Schedule(SMALL, (0.0, 0.0, 0.0)), None, {}))
    return {
        "nowhere": "no such file or folder",
        "empty": "holds no search",
        "begun": "has no evaluations yet",
        "trained": "give its best_schedule.yaml",
        "torn": "line 2",
        "nothing_trained": "no candidate of generations.csv was trained",
        "strange": "no column lr_weight_",
        "genotypes.csv": "does not say of which network",
        "text.yaml": "not a schedule file",
        "frozen.yaml": "freezes every block",
    }


def test_bad_sources_are_refused_in_one_line_that_names_key_and_path(earlier: Path, tmp_path: Path) -> None:
    for name, word in bad_sources(tmp_path, earlier).items():
        path = str(tmp_path / name)
        with pytest.raises(ConfigError) as caught:
            read_sources([str(earlier), path], LARGE)
        said = str(caught.value)
        assert said.startswith(f"evolution.warm_start={path}: ")
        assert word in said
        assert "\n" not in said
        assert "give" in said  # the remedy
