"""What completion offers, before any shell has its say."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.object_type import ObjectType
from hydra.types import RunMode
from hypothesis import given
from hypothesis import strategies as st

from biotune.cli.completion.candidates import complete, offer_for
from biotune.cli.completion.shell_words import bash_candidate, read_line
from biotune.cli.config_files import choices_of, groups_of, roots
from biotune.cli.launch.compose import composing
from biotune.cli.registry import COMMANDS, LISTS, SCHEMAS
from biotune.config.key import keys_of


def offered(line: str) -> list[str]:
    """The words offered at the end of a line."""
    return list(offer_for(read_line(line, "").words[1:]).words)


@pytest.mark.parametrize("command", SCHEMAS)
def test_groups_and_choices_are_those_that_hydra_finds(command: str) -> None:
    with composing(None) as loader:
        chosen = loader.compute_defaults_list(command, [], RunMode.RUN).overrides.known_choices
        groups = [name for name in chosen if not name.startswith("hydra")]
        assert sorted(groups_of(command)) == sorted(groups)
        for group in groups:
            assert list(choices_of(group, roots(None))) == loader.get_group_options(group, results_filter=ObjectType.CONFIG)


@pytest.mark.parametrize("command", [name for name in SCHEMAS if name != "data"])
def test_every_key_is_reached_by_typing_its_section(command: str) -> None:
    for item in keys_of(SCHEMAS[command]):
        section, dot, _ = item.path.rpartition(".")
        assert f"{item.path}=" in offered(f"biotune {command} {section}{dot}")


def test_the_first_word_is_a_command() -> None:
    assert offered("biotune ") == list(COMMANDS)
    assert offered("biotune --v") == ["--version"]
    assert offered("biotune zz") == []


def test_several_trackers_are_completed_within_brackets() -> None:
    assert offered("biotune run tracker=") == ["tracker=mlflow", "tracker=tensorboard", "tracker=wandb"]
    assert offered("biotune run tracker=[") == ["tracker=[mlflow", "tracker=[tensorboard", "tracker=[wandb"]
    assert offered("biotune run tracker=[mlflow,") == ["tracker=[mlflow,tensorboard", "tracker=[mlflow,wandb"]


def test_a_bare_tab_shows_groups_sections_and_lone_keys_only() -> None:
    words = offered("biotune train ")
    assert {"dataset=", "dataset.", "training=", "training.", "strategy=", "seed=", "schedule=", "hydra."} <= set(words)
    assert not [word for word in words if "." in word[:-1]]
    assert "evolution=" not in words
    assert offered("biotune train hydra.r") == ["hydra.run."]


def test_values_of_choices_bools_and_open_keys() -> None:
    assert offered("biotune run evolution.mating=") == [
        "evolution.mating=brood",
        "evolution.mating=sequential",
        "evolution.mating=asynchronous",
    ]
    assert offered("biotune run dataset.download=") == ["dataset.download=true", "dataset.download=false"]
    assert offered("biotune run device=c") == ["device=cpu", "device=cuda"]
    assert offered("biotune run dataset.source_size=1") == ["dataset.source_size=128"]
    assert offered("biotune run training.lr=") == ["training.lr=auto"]
    assert offered("biotune run training.epochs=") == []
    assert offered("biotune run nonsense=") == []
    assert offered("biotune run +experiment=sm") == ["+experiment=smoke"]


def test_a_comma_begins_the_next_choice_and_none_is_offered_twice() -> None:
    assert offered("biotune run -m dataset=cifar10,c") == ["dataset=cifar10,cifar100", "dataset=cifar10,cub"]
    assert offered("biotune run -m strategy=a,b evolution.mating=brood,") == [
        "evolution.mating=brood,sequential",
        "evolution.mating=brood,asynchronous",
    ]
    after_m = offer_for(["run", "-m", "dataset=cu"])
    assert after_m.open_end, "another choice may follow"
    assert not offer_for(["run", "dataset=cu"]).open_end


@pytest.mark.parametrize("flag", ["--config-dir mine", "--config-dir=mine", "-cd mine"])
def test_choices_of_a_users_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine/dataset").mkdir(parents=True)
    (tmp_path / "mine/dataset/ferns.yaml").write_text("loader: folder\n")
    assert offered(f"biotune run {flag} dataset=fe") == ["dataset=ferns"]
    assert offered("biotune run dataset=fe") == []


def test_flags_and_what_follows_them() -> None:
    assert {"--quiet", "-q", "-v", "-m", "--cfg", "--config-dir", "--help"} <= set(offered("biotune run -"))
    assert offered("biotune run --cfg j") == ["job"]
    assert offered("biotune run --cfg=j") == ["--cfg=job"]
    assert "training" in offered("biotune run --cfg job --package ")
    assert "--json" in offered("biotune list -")
    assert "--json" not in offered("biotune run -")
    assert offer_for(["run", "--config-dir", ""]).paths == "folders"
    assert offered("biotune run --info dataset=cu") == ["dataset=cub"]


def test_arguments_of_the_other_commands() -> None:
    assert offered("biotune list ") == list(LISTS)
    assert offered("biotune list datasets ") == []
    assert offered("biotune data ") == ["check", "cache"]
    assert offered("biotune data check dataset=cu") == ["dataset=cub"]
    assert offered("biotune data cache --c") == ["--clear"]
    assert offered("biotune completion z") == ["zsh"]
    assert offered("biotune help training.lr") == ["training.lr", "training.lr_grid"]
    assert {"training", "train"} <= set(offered("biotune help trai"))
    assert offer_for(["predict", ""]).paths == "folders"
    assert offer_for(["predict", "--top", "3", ""]).paths == "folders"
    assert offer_for(["predict", "out", ""]).paths == "files"
    assert offer_for(["report", "out", ""]).paths == "folders"


def test_keys_that_are_paths() -> None:
    for words, kind in {
        ("train", "schedule="): "files",
        ("evaluate", "genotypes=a"): "files",
        ("run", "dataset.root="): "folders",
        ("run", "hydra.run.dir=o"): "folders",
    }.items():
        assert offer_for(words).paths == kind


def test_a_path_after_a_comma_is_listed_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "b.csv", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / "more").mkdir()
    assert offered("biotune evaluate -m genotypes=a.csv,") == [
        f"genotypes=a.csv,{name}" for name in ("a.csv", "b.csv", "more/")
    ]
    assert offered("biotune run backbone.weights=") == [
        f"backbone.weights={name}" for name in ("default", "none", "a.csv", "b.csv", "more/")
    ]


@given(st.lists(st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), min_size=1), min_size=1))
def test_any_words_are_read_back_from_a_line(words: list[str]) -> None:
    assert read_line(shlex.join(words), " =:").words == words


@given(st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126), min_size=1), st.sampled_from(["", "'", '"']))
def test_a_candidate_reads_as_itself_again(name: str, quote: str) -> None:
    if quote == "'":
        name = name.replace("'", "")
    typed = read_line(f"biotune {quote}", " \t\n\"'><=;|&(:")
    shown = bash_candidate(name, typed)
    assert read_line(f"{quote}{shown}{quote}", "").words == [name]


def test_what_is_replaced_begins_after_the_last_open_break() -> None:
    breaks = " \t\n\"'><=;|&(:"
    assert read_line("biotune run device=cuda:", breaks).replaced_from == len("device=cuda:")
    assert read_line("biotune run a=b\\=c", breaks).replaced_from == 2
    assert read_line("biotune run 'a=b", breaks).replaced_from == 0
    assert read_line("biotune run a='b=c", breaks).replaced_from == 2


@pytest.mark.parametrize(
    "arguments", [[], ["bash"], ["zsh"], ["fish"], ["tcsh", "x"], ["bash", "biotune run --config-dir no d=", "="]]
)
def test_nonsense_is_answered_by_silence(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert complete(arguments) == 0
    assert capsys.readouterr().err == ""


def test_an_answer_imports_nothing_heavy() -> None:
    script = (
        "import sys; from biotune.cli import main\n"
        "for line in sys.argv[1:]: main(['__complete', 'bash', line, '=']); print('--')\n"
        "print([name for name in ('torch', 'hydra', 'omegaconf', 'deap', 'numpy', 'rich') if name in sys.modules])"
    )
    lines = ["biotune ", "biotune run ", "biotune run dataset=", "biotune help "]
    done = subprocess.run([sys.executable, "-c", script, *lines], capture_output=True, text=True, check=True, timeout=60)
    *answers, heavy = done.stdout.split("--\n")
    assert heavy == "[]\n"
    assert len(answers) == len(lines)
    assert min(len(answer.splitlines()) for answer in answers) > 8


@pytest.mark.parametrize("command", ["compare", "resume"])
def test_commands_that_train_offer_how_much_they_say(command: str) -> None:
    assert {"-q", "--quiet", "-v", "--verbose", "--help"} <= set(offered(f"biotune {command} -"))


def test_the_config_folder_of_a_comparison_is_completed() -> None:
    assert {"-m", "--multirun", "--cfg"} <= set(offered("biotune compare -"))
    assert offer_for(["compare", "--config-dir", ""]).paths == "folders"


def test_groups_are_chosen_with_the_right_article() -> None:
    words = offer_for(["run", ""]).words
    assert words["evolution="] == "choose an evolution"
    assert words["experiment="] == "choose an experiment"
    assert words["dataset="] == "choose a dataset"
