"""What the pages say, and that no name can break out of them."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from made_up import dump, make_run
from PIL import Image

from biotune.errors import RunFolderError
from biotune.report.classes import worst
from biotune.report.plots import chosen_schedule
from biotune.report.read import read_run
from biotune.report.run import write_report
from biotune.report.run_page import command, gain, lead
from biotune.report.runs_page import apart, best_over_folds, write_comparison
from biotune.report.templating import duration, signed

HOSTILE = [
    "<script>alert(1)</script>",
    "\"quoted\" & 'single' --> ]]>",
    "حصان عربي",
    "x" * 300,
    "a  b",
    "{{ 7*7 }}",
    "NA",
]


class Reader(HTMLParser):
    """Collects the elements, the texts and what would be fetched."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.texts: list[str] = []
        self.handlers: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())


def page_of(folder: Path) -> Reader:
    return Reader(write_report(read_run(folder)))


@pytest.mark.usefixtures("drawn")
def test_the_page_tells_the_result_and_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    page = page_of(folder)
    assert " ".join(lead(read_run(folder)).split()) in page.text
    assert re.search(
        r"The evolved schedule reaches \d\d\.\d.±.\d\.\d.% macro accuracy on the test set, "
        r"against \d\d\.\d.±.\d\.\d.% for full fine-tuning and \d\d\.\d.±.\d\.\d.% for linear probing\.",
        page.text,
    )
    assert "script" not in page.tags
    assert page.tags.count("svg") == 9
    assert all(target.startswith(("#", "data:")) for target in page.fetched)
    assert "url(http" not in (folder / "report.html").read_text()


@pytest.mark.usefixtures("drawn")
def test_hostile_names_come_out_whole_and_harmless(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", blocks=["<b>bold</b>", "x" * 200, "ok"], classes=HOSTILE, tests=70)
    page = page_of(folder)
    assert not {"script", "b"} & set(page.tags)
    assert page.handlers == []
    for name in [*HOSTILE, "<b>bold</b>", "x" * 200]:
        assert " ".join(name.split()) in page.text, name


def test_the_command_is_what_was_typed_in_quotes_where_a_shell_needs_them(tmp_path: Path) -> None:
    typed = ["dataset.root=/my images/it's", "training.seeds=[1,2]", "seed=3"]
    folder = make_run(tmp_path / "run", overrides=typed)
    sources = [{"provider": "main", "path": "biotune.configs"}, {"provider": "command-line", "path": "/my configs"}]
    dump(folder / ".hydra/hydra.yaml", {"hydra": {"runtime": {"config_sources": sources}}})
    line = command(read_run(folder))
    assert shlex.split(line) == ["biotune", "run", "--config-dir", "/my configs", *typed]
    assert line in page_of(folder).text


def test_gains_are_paired_by_training_seed(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run", seeds=2))
    run.test.loc[run.test["strategy"] == "biotune", "macro_accuracy"] = [0.9, 0.8]
    run.test.loc[run.test["strategy"] == "full", "macro_accuracy"] = [0.8, 0.7]
    found = gain(run, "full")
    assert found is not None
    assert (found.mean, found.sd) == (pytest.approx(0.1), pytest.approx(0.0, abs=1e-12))


def test_the_page_of_a_smoke_run_says_what_its_scores_are_worth(tmp_path: Path) -> None:
    said = "its scores and advice mean nothing"
    assert said in page_of(make_run(tmp_path / "smoke", overrides=["experiment=smoke", "seed=0"])).text
    assert said not in page_of(make_run(tmp_path / "run")).text


def test_one_training_seed_shows_no_spread(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path / "run", seeds=1))
    assert "One training seed, so no spread is known" in page.text
    assert "±" not in lead(read_run(tmp_path / "run"))


def test_a_run_without_confirmation_and_a_single_fine_tune_have_pages_too(tmp_path: Path) -> None:
    assert "without confirming it" in page_of(make_run(tmp_path / "run", confirmed=0)).text
    page = page_of(make_run(tmp_path / "trained", command="train"))
    assert "Full fine-tuning reaches" in page.text
    assert "<h2>The search</h2>" not in page.text


def test_a_choice_that_is_not_the_best_confirmed_is_explained(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", confirmed=3)
    assert "Another one came to" not in page_of(folder).text
    table = pd.read_csv(folder / "confirm.csv")
    run = read_run(folder)
    assert run.search is not None
    chosen = chosen_schedule(run, run.search)
    table.loc[table["schedule"].astype(str) != chosen, "macro_accuracy"] = 0.999
    table.to_csv(folder / "confirm.csv", index=False)
    assert "Another one came to 99.9 % there" in page_of(folder).text


def test_the_page_says_in_which_order_the_blocks_join(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    assert "Trained blocks join: all in the first epoch." in page_of(folder).text
    file = folder / "best_schedule.yaml"
    file.write_text(file.read_text().replace("blocks:", "unfreezing: last_to_first\nblocks:", 1))
    assert "Trained blocks join: one more every epoch, from the last one up." in page_of(folder).text


def test_wrong_images_are_shown_where_their_files_are_found(tmp_path: Path) -> None:
    root = tmp_path / "images"
    root.mkdir()
    for number in range(0, 60, 5):
        Image.new("RGB", (400, 300), (number, 90, 200)).save(root / f"{number:04}.png")
    (root / "0005.png").write_bytes(b"no image")
    page = page_of(make_run(tmp_path / "run", root=root))
    assert page.tags.count("img") == 11
    assert (tmp_path / "run/report.html").stat().st_size < 600_000
    assert "0005.png" in page.text


@pytest.mark.parametrize("kept_in", ["the run", "the dataset"])
def test_every_mistake_shows_its_own_image_the_surest_first(kept_in: str, tmp_path: Path) -> None:
    root, folder = tmp_path / "images", tmp_path / "run"
    root.mkdir()
    make_run(folder, root=root)
    (folder / "mistakes").mkdir()
    for row in range(60):
        file = folder / f"mistakes/{row}.png" if kept_in == "the run" else root / f"{row:04}.png"
        Image.new("RGB", (32, 32), (4 * row, 0, 0)).save(file)
    mistakes = worst(read_run(folder))
    sure = [one.probability for one in mistakes]
    assert sure == sorted(sure, reverse=True)
    assert {one.image for one in mistakes} == {f"{row:04}.png" for row in range(0, 60, 5)}
    for one in mistakes:
        assert one.thumbnail is not None
        with Image.open(io.BytesIO(base64.b64decode(one.thumbnail.removeprefix("data:image/jpeg;base64,")))) as shown:
            red, _, _ = shown.convert("RGB").getpixel((16, 16))
        assert red == pytest.approx(4 * int(one.image[:4]), abs=3), f"{one.image} shows another row"


def test_a_perfect_model_has_no_mistakes_to_show(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    text = (folder / "predictions.csv").read_text().splitlines()
    lines = [",".join([row[0], row[1], row[1], row[3]]) for row in (line.split(",") for line in text[1:])]
    (folder / "predictions.csv").write_text("\n".join([text[0], *lines]) + "\n")
    page = page_of(folder)
    assert "0 of 60 test images are classified wrongly" in page.text
    assert "Most confident mistakes" not in page.text


def test_runs_side_by_side_are_told_apart(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / day / "run", seed=at, overrides=["x=1", f"seed={at}"]) for at, day in enumerate("ab")]
    page = Reader(write_comparison([read_run(folder) for folder in folders], tmp_path / "page.html"))
    assert "a/run" in page.text
    assert "b/run" in page.text
    assert "Over 2 runs on digits with glyphnet" in page.text
    assert page.tags.count("svg") == 4
    assert "script" not in page.tags
    assert "biotune run x=1 seed=1" in page.text


def test_runs_of_different_questions_share_no_headline(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / "one"), make_run(tmp_path / "two", command="train", blocks=14)]
    page = Reader(write_comparison([read_run(folder) for folder in folders], tmp_path / "page.html"))
    assert "Over 2 runs" not in page.text
    assert "two" in page.text


def test_curves_average_the_latest_generation_on_each_fold(a_run: Path) -> None:
    search = read_run(a_run).search
    assert search is not None
    summary = search.summary.assign(best_fitness=[0.5, 0.3, 0.1, 0.1], fold=[0, 1, 0, 1])
    assert best_over_folds(summary).tolist() == pytest.approx([0.5, 0.6, 0.8, 0.9])


def test_labels_at_curves_ends_are_pushed_apart_and_stay_inside() -> None:
    assert apart([0.1, 0.5], 0.2, 1) == [0.1, 0.5]
    assert apart([0.1, 0.1, 0.1], 0.2, 1) == pytest.approx([0.1, 0.3, 0.5])
    assert apart([0.9, 0.95, 1.0], 0.2, 1) == pytest.approx([0.6, 0.8, 1.0])


@pytest.mark.slow
def test_a_long_run_reports_in_five_seconds_and_ten_in_twenty(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / str(at), generations=10, candidates=20, blocks=14, seed=at) for at in range(10)]
    begun = time.perf_counter()
    write_report(read_run(runs[0]))
    assert time.perf_counter() - begun < 5
    begun = time.perf_counter()
    write_comparison([read_run(folder) for folder in runs], tmp_path / "page.html")
    assert time.perf_counter() - begun < 20


def test_a_folder_that_cannot_be_written_is_one_line(a_run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="cannot be written"):
        write_comparison([read_run(a_run)], tmp_path / "nowhere" / "page.html")


def test_durations_read_as_one_says_them() -> None:
    assert [duration(seconds) for seconds in (0.31, 59.6, 99.4, 600, 7500)] == ["0.3 s", "60 s", "99 s", "10 min", "2 h 05 min"]


def test_reports_need_no_torch(tmp_path: Path) -> None:
    code = "import sys; from biotune.cli import main; main(['report', *sys.argv[1:]]); print('torch' in sys.modules)"
    folder, out = make_run(tmp_path / "run"), tmp_path / "page.html"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), "--out", str(out)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == [str(out), "False"]


def with_confirmation(folder: Path, **entries: object) -> Path:
    file = folder / "result.json"
    result = json.loads(file.read_text())
    result["confirmed"] |= entries
    file.write_text(json.dumps(result))
    return folder


def test_a_chosen_baseline_has_no_score_in_the_search(tmp_path: Path) -> None:
    page = page_of(with_confirmation(make_run(tmp_path / "run"), chosen="full", strategy="full"))
    assert "The chosen baseline scored" in page.text
    assert "Full fine-tuning reaches" in page.text


def test_an_evolved_schedule_that_was_given_up_in_the_search_is_no_baseline(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    table = pd.read_csv(folder / "generations.csv")
    chosen = int(table["individual"].max())
    table.loc[table["individual"] == chosen, "status"] = "pruned"
    table.to_csv(folder / "generations.csv", index=False)
    page = page_of(with_confirmation(folder, chosen=str(chosen), strategy="biotune"))
    assert "in the search its training runs were given up before the end" in page.text
    assert "baseline scored" not in page.text


def test_spread_candidates_are_not_said_to_share_a_fold(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    assert "compare like markers" in page_of(folder).text
    config = folder / ".hydra/config.yaml"
    config.write_text(config.read_text() + "evolution: {spread: true}\n")
    page = page_of(folder)
    assert "each on the validation data of its own split" in page.text
    assert "compare like markers" not in page.text


@pytest.mark.parametrize(
    ("returned", "strategy", "said"),
    [("0", "biotune", ""), ("7", "biotune", "Returned is schedule 7:"), ("full", "full", "Returned is full fine-tuning:")],
)
def test_what_is_returned_instead_of_the_confirmed_one_is_named(
    returned: str, strategy: str, said: str, tmp_path: Path
) -> None:
    folder = with_confirmation(make_run(tmp_path / "run"), chosen="0", strategy="biotune")
    result = json.loads((folder / "result.json").read_text())
    result["returned"] = {"schedule": returned, "strategy": strategy, "val_macro_accuracy": 0.9, "finalists": 2, "models": 4}
    (folder / "result.json").write_text(json.dumps(result))
    text = page_of(folder).text
    assert (said in text) if said else ("Returned is" not in text)


@pytest.mark.parametrize(
    ("behind", "whose"), [(0, ""), (1, " of the evolved schedule, which the confirmation chose,")], ids=["chosen", "another"]
)
def test_the_expected_score_is_told_with_whose_it_is(behind: int, whose: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", complete=True)
    one = {"macro_accuracy": {"mean": 0.7, "low": 0.6, "high": 0.8}}
    result = json.loads((with_confirmation(folder, predicted=one) / "result.json").read_text())
    schedule = str(int(result["confirmed"]["chosen"]) - behind)
    result["returned"] = {"schedule": schedule, "strategy": "biotune", "val_macro_accuracy": 0.9, "finalists": 2, "models": 4}
    (folder / "result.json").write_text(json.dumps(result))
    assert f"Expected{whose} on new images: 70.0 %" in page_of(folder).text


def test_training_runs_that_stand_in_the_table_twice_are_counted_once(tmp_path: Path) -> None:
    """Where full fine-tuning is returned, its final training runs are biotune's too."""

    def counted(folder: Path) -> int:
        found = re.search(r"training runs, \d+ [a-z]+ of training in all([\d,]+)", page_of(folder).text)
        assert found
        return int(found[1].replace(",", ""))

    apart, shared = make_run(tmp_path / "apart", seeds=3), make_run(tmp_path / "shared", seeds=3)
    table = pd.read_csv(shared / "test.csv")
    own = table[table["strategy"] == "biotune"]
    pd.concat([own, own.assign(strategy="full"), table[table["strategy"] == "linear_probe"]]).to_csv(
        shared / "test.csv", index=False
    )
    result = json.loads((shared / "result.json").read_text())
    result["baselines"]["full"] = result["test"]
    (shared / "result.json").write_text(json.dumps(result))
    assert counted(shared) == counted(apart) - 3


@pytest.mark.parametrize(("value", "text"), [(-0.04, "0.0"), (0.04, "0.0"), (-0.06, "−0.1"), (1.25, "+1.2"), (-3.0, "−3.0")])
def test_a_difference_has_a_sign_unless_it_rounds_to_0(value: float, text: str) -> None:
    assert signed(value) == text
