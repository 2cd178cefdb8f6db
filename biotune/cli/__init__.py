"""The command line: sub-commands over Hydra. This folder alone knows Hydra.

Nothing heavy is imported before it is known what the user wants, so that help is instant.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from biotune import __version__
from biotune.errors import BiotuneError, did_you_mean

CONFIG_COMMANDS = {
    "run": "search, confirm, retrain, test, report",
    "train": "one fine-tune over several seeds: strategy=NAME, or schedule=FILE",
    "evaluate": "fitness of given genotypes, no search: genotypes=FILE.csv",
    "blocks": "the blocks of a backbone: modules, parameters, share",
}
LISTS = ("datasets", "backbones", "evolution", "training", "strategies", "executors", "experiments")
_BAD_INPUT = 2

HELP = f"""\
biotune finds out which layers of a pre-trained image classifier to fine-tune, and how fast each should learn.

  biotune run                                        search on bundled digits with the bundled network
  biotune run dataset=folder dataset.root=PICTURES backbone=resnet50
  biotune run -m dataset=digits,cub seed=1,2,3       one run for every combination

Commands:
{chr(10).join(f"  {name:<10} {meaning}" for name, meaning in CONFIG_COMMANDS.items())}
  data       'biotune data check dataset=NAME' verifies a local copy; 'biotune data cache' lists decoded pictures
  predict    classify pictures with a run's final model: biotune predict DIR PICTURE...
  list       what can be chosen: biotune list {"|".join(LISTS)}

Every key is set as KEY=VALUE. Useful with every command but list:
  --cfg job       show the composed config and stop
  --help          show the config and its choices
  --config-dir D  also look for configs in D
  -m              one job for every combination of comma-separated values
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sub-command.

    Args:
        arguments: What follows the program's name; by default what was typed.

    Returns:
        The exit status: 0, 1 for a run that failed, 2 for bad input, 130 after Ctrl-C.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = given[0] if given else "--help"
    try:
        if command in ("-h", "--help", "help"):
            print(HELP, end="")
            return 0
        if command in ("-V", "--version"):
            print(f"biotune {__version__}")
            return 0
        if command == "list":
            from biotune.cli.listing import show_list

            return show_list(given[1:])
        if command == "data":
            from biotune.cli.data import data

            return data(given[1:])
        if command == "predict":
            from biotune.cli.predicting import predict

            return predict(given[1:])
        if command in CONFIG_COMMANDS:
            from biotune.cli.hydra_app import run_command

            return run_command(command, given[1:])
        names = [*CONFIG_COMMANDS, "data", "predict", "list"]
        raise BiotuneError(f"{command}: no such command.{did_you_mean(command, names)} Commands: {', '.join(names)}.")
    except BiotuneError as error:
        for line in str(error).splitlines():
            print(f"biotune: {line}", file=sys.stderr)
        return _BAD_INPUT
    except KeyboardInterrupt:
        print("biotune: interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the reader of a pipe, such as head, has seen enough
        sys.stderr.close()
        return 0
