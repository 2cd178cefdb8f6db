"""The command line: sub-commands over Hydra. This folder alone knows Hydra.

Nothing heavy is imported before it is known what the user wants, so that help and completion are instant.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from biotune import __version__
from biotune.errors import BiotuneError, did_you_mean

CONFIG_COMMANDS = {
    "run": "search, confirm, retrain, test, report",
    "train": "one fine-tune over several seeds: strategy=NAME or schedule=FILE",
    "compare": "many strategies on the same data: one table",
    "evaluate": "fitness of given genotypes, no search: genotypes=FILE.csv",
    "blocks": "the blocks of a backbone: modules, parameters, share",
}
LISTS = ("datasets", "backbones", "evolution", "training", "strategies", "executors", "experiments")
COMMANDS = {
    **CONFIG_COMMANDS,
    "resume": "finish an interrupted run, or lengthen a search: resume DIR",
    "predict": "classify with a run's final model: predict DIR PICTURE...",
    "report": "rebuild a run's page, or set runs side by side: report DIR...",
    "list": "what can be chosen: list datasets, list backbones, ...",
    "data": "data check dataset=NAME verifies a copy; data cache",
    "help": "what a key means, or a section's keys: help training.lr",
    "completion": "TAB completes commands, keys, choices in bash, zsh, fish",
}
_PLACES = {  # module and function of the commands that need no config of Hydra's
    "resume": "biotune.cli.resuming:resume",
    "predict": "biotune.cli.predicting:predict",
    "report": "biotune.cli.reporting:report",
    "list": "biotune.cli.listing:show_list",
    "data": "biotune.cli.data:data",
    "help": "biotune.cli.helping:show_help",
    "completion": "biotune.cli.completion:completion",
    "__complete": "biotune.cli.completion:complete",
}
_BAD_INPUT = 2
NO_HYDRA_COMPLETION = (
    "-sc: biotune has a completion of its own: 'biotune completion bash' prints it, 'biotune completion' says how to load it."
)

# at most 23 lines of 80 columns: with the prompt below them they fit an old terminal
HELP = f"""\
biotune finds which layers of an image classifier to fine-tune, and how fast.

  biotune run                                    a demo on bundled digits
  biotune run dataset=folder dataset.root=PICTURES backbone=resnet50
  biotune run -m dataset=digits,cub seed=1,2     a run for every combination

Commands:
{chr(10).join(f"  {name:<10}  {meaning}" for name, meaning in COMMANDS.items())}

Everything is set as KEY=VALUE. Flags of run, train, compare, evaluate:
  -q  only the result     -v  a line a training     -m  one job a combination
  --cfg job  show the config and stop     --config-dir D  look for configs in D
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sub-command.

    Args:
        arguments: What follows the program's name; by default what was typed.

    Returns:
        The exit status: 0, 1 for a run that failed, 2 for bad input, 130 after Ctrl-C.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(given)
    except BiotuneError as error:
        for line in str(error).splitlines():
            print(f"biotune: {line}", file=sys.stderr)
        return _BAD_INPUT
    except KeyboardInterrupt as stop:
        print(f"biotune: interrupted. {stop}".rstrip(), file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the reader of a pipe, such as head, has seen enough
        sys.stderr.close()
        return 0


def _dispatch(given: list[str]) -> int:
    command = given[0] if given else "--help"
    if command in ("-h", "--help") or given == ["help"]:
        print(HELP, end="")
        return 0
    if command in ("-V", "--version"):
        print(f"biotune {__version__}")
        return 0
    if command in ("-sc", "--shell-completion"):
        raise BiotuneError(NO_HYDRA_COMPLETION)
    if command in CONFIG_COMMANDS:
        from biotune.cli.hydra_app import run_command

        return run_command(command, given[1:])
    if command in _PLACES:
        module, name = _PLACES[command].split(":")
        status: int = getattr(import_module(module), name)(given[1:])
        return status
    raise BiotuneError(f"{command}: no such command.{did_you_mean(command, COMMANDS)} Commands: {', '.join(COMMANDS)}.")
