"""The commands: one row for each. Imports nothing heavy, so that help and completion are instant."""

from __future__ import annotations

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
    "predict": "classify with a run's final model: predict DIR IMAGE...",
    "report": "rebuild a run's page, or set runs side by side: report DIR...",
    "list": "what can be chosen: list datasets, list backbones, ...",
    "data": "data check dataset=NAME verifies a copy; data cache",
    "help": "what a key means, or a section's keys: help training.lr",
    "completion": "TAB completes commands, keys, choices in bash, zsh, fish",
}


PLACES = {  # module and function of the commands that need no config of Hydra's
    "resume": "biotune.cli.launch.resume:resume",
    "predict": "biotune.cli.commands.predict:predict",
    "report": "biotune.cli.commands.report:report",
    "list": "biotune.cli.commands.list:show_list",
    "data": "biotune.cli.launch.data:data",
    "help": "biotune.cli.commands.help:show_help",
    "completion": "biotune.cli.completion.candidates:completion",
    "__complete": "biotune.cli.completion.candidates:complete",
}


NO_HYDRA_COMPLETION = (
    "-sc: biotune has a completion of its own: 'biotune completion bash' prints it, 'biotune completion' says how to load it."
)


# at most 23 lines of 80 columns: with the prompt below them they fit an old terminal
HELP = f"""\
biotune finds which layers of an image classifier to fine-tune, and how fast.

  biotune run                                    a demo on bundled digits
  biotune run dataset=folder dataset.root=IMAGES backbone=resnet50
  biotune run -m dataset=digits,cub seed=1,2     a run for every combination

Commands:
{chr(10).join(f"  {name:<10}  {meaning}" for name, meaning in COMMANDS.items())}

Everything is set as KEY=VALUE. Flags of run, train, compare, evaluate:
  -q  only the result     -v  a line a training     -m  one job a combination
  --cfg job  show the config and stop     --config-dir D  look for configs in D
"""
