"""Completion in bash, zsh and fish themselves: their scripts are loaded, TAB is pressed, what then stands there is read."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from terminal import Terminal

from biotune.cli.completion.candidates import SHELLS

BREAKS = " \t\n\"'><=;|&(:"


def needs(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder to stand in, with files to complete and the command on its own path."""
    program = tmp_path / "bin" / "biotune"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom biotune.cli import main\nsys.exit(main())\n")
    program.chmod(0o755)
    here = tmp_path / "here"
    (here / "runs/first").mkdir(parents=True)
    (here / "mine/dataset").mkdir(parents=True)
    (here / "mine/dataset/ferns.yaml").write_text("# Ferns of my garden: all of them.\nloader: folder\n")
    for name in ("my best.yaml", "other.yaml", "robin.png"):
        (here / name).touch()
    return here


@pytest.fixture
def environment(shop: Path) -> dict[str, str]:
    """The shells' environment; no start-up file of the user's is read."""
    root = Path(__file__).parents[3]
    return {
        "PATH": f"{shop.parent / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(root),
        "HOME": str(shop.parent),
        "XDG_CONFIG_HOME": str(shop.parent / "config"),
        "ZDOTDIR": str(shop.parent),
        "TERM": "dumb",
        "LC_ALL": "C.UTF-8",
    }


def answers(shell: str, script: str, environment: dict[str, str], folder: Path) -> list[str]:
    command = [shell, "--no-config", "-c", script] if shell == "fish" else [shell, "-c", script]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout.splitlines()


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_loads_without_a_word(environment: dict[str, str], shop: Path, shell: str) -> None:
    needs(shell)
    assert answers(shell, f'eval "$(biotune completion {shell})"', environment, shop) == []


BASH_CASES = {
    "biotune ru": ["run"],
    "biotune run dataset=c": ["cifar10", "cifar100", "cub"],
    "biotune run -m dataset=digits,cu": ["digits,cub"],
    "biotune run training.opt": ["training.optimizer="],
    "biotune run dataset.shift=no": ["none", "noise"],
    "biotune blocks backbone=resnet1": ["resnet101", "resnet18"],
    "biotune run dataset=zz": [],
    "biotune list back": ["backbones"],
    "biotune run --config-dir mine dataset=fe": ["ferns"],
    "biotune run 'dataset=cu": ["dataset=cub"],
}


def test_bash_offers_the_rest_after_its_own_word_breaks(environment: dict[str, str], shop: Path) -> None:
    needs("bash")
    script = ['eval "$(biotune completion bash)"', "COMP_WORDBREAKS=" + shlex.quote(BREAKS)]
    for line in BASH_CASES:
        script.append(f'COMP_LINE={shlex.quote(line)}; COMP_POINT=${{#COMP_LINE}}; _biotune biotune; echo "${{COMPREPLY[*]}}"')
    said = answers("bash", "\n".join(script), environment, shop)
    assert [line.split() for line in said] == list(BASH_CASES.values())


def test_bash_completes_only_up_to_the_cursor(environment: dict[str, str], shop: Path) -> None:
    needs("bash")
    line = "biotune run dataset=cu seed=1"
    script = f'eval "$(biotune completion bash)"; COMP_LINE="{line}"; COMP_POINT=22; _biotune biotune; echo "${{COMPREPLY[*]}}"'
    assert answers("bash", script, environment, shop) == ["cub"]


def test_bash_without_the_equals_sign_among_its_breaks_gets_whole_words_and_lists_of_files(
    environment: dict[str, str], shop: Path
) -> None:
    needs("bash")
    script = ['eval "$(biotune completion bash)"', "COMP_WORDBREAKS=$' \\t\\n'"]
    for line in ("biotune run dataset=cu", "biotune train schedule=o", "biotune train schedule=my"):
        script.append(f'COMP_LINE={shlex.quote(line)}; COMP_POINT=${{#COMP_LINE}}; _biotune biotune; echo "${{COMPREPLY[*]}}"')
    assert answers("bash", "\n".join(script), environment, shop) == [
        "dataset=cub",
        "schedule=other.yaml",
        "schedule=my\\ best.yaml",
    ]


FISH_CASES = {
    "biotune ru": ["run"],
    "biotune run dataset=c": ["dataset=cifar10", "dataset=cifar100", "dataset=cub"],
    "biotune run -m dataset=digits,cu": ["dataset=digits,cub"],
    "biotune run training.opt": ["training.optimizer="],
    "biotune run 'dataset=cu": ["dataset=cub"],
    "biotune train schedule=oth": ["schedule=other.yaml"],
    "biotune train schedule=my": ["schedule=my best.yaml"],
    "biotune run dataset.root=m": ["dataset.root=mine/"],
    "biotune run dataset.root=~/he": ["dataset.root=~/here/"],
    "biotune predict ru": ["runs/"],
    "biotune predict runs/first rob": ["robin.png"],
    "biotune run dataset=zz": [],
    "biotune run --multi": ["--multirun"],
}


def test_fish_offers_whole_words_with_their_meaning(environment: dict[str, str], shop: Path) -> None:
    needs("fish")
    script = ["biotune completion fish | source"]
    script += [
        f"complete -C {shlex.quote(line) if chr(39) not in line else chr(34) + line + chr(34)}; echo =" for line in FISH_CASES
    ]
    said = "\n".join(answers("fish", "\n".join(script), environment, shop)).split("=\n")
    offered = [[row.partition("\t")[0] for row in part.removesuffix("=").splitlines()] for part in said]
    assert offered == list(FISH_CASES.values())
    [row] = answers("fish", f"{script[0]}; complete -C 'biotune run --config-dir mine dataset=fe'", environment, shop)
    assert row == "dataset=ferns\tFerns of my garden: all of them."


BASH_KEYS = r"""
PS1='ready> '
bind 'set enable-bracketed-paste off' 'set bell-style none' 'set show-all-if-ambiguous on'
show() { printf '[%s]\n' "$READLINE_LINE"; READLINE_LINE=; }
bind -x '"\C-xp": show'
eval "$(biotune completion bash)"
"""
ZSH_KEYS = r"""
PS1='ready> '
unsetopt beep prompt_sp list_beep zle_bracketed_paste 2>/dev/null
eval "$(biotune completion zsh)"
show() { zle -I; print -r -- "[$BUFFER]"; BUFFER= }
zle -N show
bindkey '^Xp' show
"""


@pytest.fixture
def terminal(environment: dict[str, str], shop: Path) -> Iterator[Callable[[str], Terminal]]:
    """Starts an interactive shell with completion switched on."""
    begun: list[Terminal] = []

    def start(shell: str) -> Terminal:
        needs(shell)
        script = shop.parent / f"keys.{shell}"
        script.write_text({"bash": BASH_KEYS, "zsh": ZSH_KEYS}[shell])
        quiet = ["--norc", "--noprofile", "-i"] if shell == "bash" else ["-f", "-i"]
        begun.append(Terminal([shell, *quiet], environment | {"PS1": "$ "}, shop))
        begun[0].press(f"source {script}\n")
        begun[0].read_until("ready> ")
        return begun[0]

    yield start
    for one in begun:
        one.__exit__(None, None, None)


def line_after(terminal: Any, keys: str) -> str:
    """What stands on the line after these keys; the line is emptied again."""
    terminal.press(keys + "\x18p")
    said = terminal.read_until(r"\[biotune.*\]\n+ready> ")
    return said[said.rindex("[") + 1 : said.rindex("]")]


TAB_CASES = {
    "biotune comple\t": "biotune completion ",
    "biotune run dataset=cu\t": "biotune run dataset=cub ",
    "biotune run -m dataset=digits,cu\t": "biotune run -m dataset=digits,cub",
    "biotune run training.opt\tadamw": "biotune run training.optimizer=adamw",
    "biotune run exec\t": "biotune run executor",
    "biotune train schedule=oth\t": "biotune train schedule=other.yaml ",
    "biotune train schedule=my\t": "biotune train schedule=my\\ best.yaml ",
    "biotune run dataset.root=mi\t": "biotune run dataset.root=mine/",
    "biotune run dataset.root=$HOME/he\t": "biotune run dataset.root=$HOME/here/",
    "biotune predict ~/here/ru\tfi\t": "biotune predict ~/here/runs/first/",
    "biotune predict runs/first rob\t": "biotune predict runs/first robin.png ",
    "biotune run backbone.weights=oth\t": "biotune run backbone.weights=other.yaml ",
    "biotune run --config-dir mine dataset=fe\t": "biotune run --config-dir mine dataset=ferns ",
    "biotune run --config-dir=mi\t": "biotune run --config-dir=mine/",
    "biotune run 'dataset=cu\t": "biotune run 'dataset=cub' ",
}


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_tab_at_a_terminal_puts_in_what_is_meant(terminal: Callable[[str], Any], shell: str) -> None:
    screen = terminal(shell)
    assert {keys: line_after(screen, keys) for keys in TAB_CASES} == TAB_CASES


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_tab_lists_what_there_is_to_choose(terminal: Callable[[str], Any], shell: str) -> None:
    screen = terminal(shell)
    screen.press("biotune run dataset=c\t" + "\t" * (shell == "zsh"))
    said = screen.read_until(r"cub\b")
    assert "cifar10" in said
    assert "cifar100" in said


def test_zsh_shows_what_a_choice_is(terminal: Callable[[str], Any]) -> None:
    screen = terminal("zsh")
    screen.press("biotune list \t\t")
    screen.read_until("backbones")
    screen.press("\x15biotune run --config-dir mine dataset=f\t\t")
    assert "Ferns of my garden: all of them." in screen.read_until("all of them.")


def test_fish_at_a_terminal_completes_too(environment: dict[str, str], shop: Path) -> None:
    needs("fish")
    with Terminal(["fish", "--no-config", "-i"], environment, shop) as screen:
        screen.press("biotune completion fish | source; echo lo''aded\r")
        screen.read_until("loaded")
        screen.press("biotune list bac\t; echo do''ne\r")
        assert "glyphnet" in screen.read_until(r"\bdone\b")
