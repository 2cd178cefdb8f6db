"""`biotune data`: dispatches to `data check` or `data cache`."""

from __future__ import annotations

from biotune.cli.commands.data_cache import data_cache
from biotune.errors import ConfigError, did_you_mean

_VERBS = ("check", "cache")


HELP = """\
  biotune data check dataset=NAME [KEY=VALUE...]   count the images of a copy and decode each of them
  biotune data cache                               list the decoded images that runs share
  biotune data cache --clear [NAME]                remove them, of one dataset or of all
  --json                                           with each of them: one JSON object instead of a table
"""


def data(arguments: list[str]) -> int:
    """Run `biotune data check` or `biotune data cache`.

    Args:
        arguments: The words after `biotune data`.

    Returns:
        The exit status: 0, or 1 where the check has found a fault.

    Raises:
        ConfigError: The command is neither of the two, or an option is unknown.
    """
    verb, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if verb in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    if verb not in _VERBS:
        raise ConfigError(
            f"biotune data {verb}: no such command.{did_you_mean(verb, _VERBS)} "
            "Use 'biotune data check dataset=NAME' or 'biotune data cache [--clear [NAME]]'."
        )
    if verb == "cache":
        return data_cache(rest)
    if several := [argument for argument in rest if argument in ("-m", "--multirun")]:
        raise ConfigError(f"{several[0]}: 'biotune data check' takes one dataset at a time.")
    from biotune.cli.launch.hydra_app import run_command

    return run_command("data", rest)
