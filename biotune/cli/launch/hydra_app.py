"""Runs the commands whose config Hydra composes: the check, then Hydra's run of one job or of a sweep's."""

from __future__ import annotations

import sys
import traceback

import hydra

from biotune.cli.launch.compose import CONFIGS, composing, register
from biotune.cli.launch.hydra_internals import run_single, run_sweep
from biotune.cli.launch.interrupts import end_cleanly
from biotune.cli.launch.job import Job, Outcome
from biotune.cli.launch.launchers import BASIC, Sweep, going_on
from biotune.cli.launch.overrides import with_pairs_quoted
from biotune.cli.launch.precheck import flags_first, precheck
from biotune.cli.launch.sweep import summarise_sweep
from biotune.cli.registry import COMMANDS
from biotune.cli.terminal.output_mode import OutputMode, take_output_mode
from biotune.errors import one_line
from biotune.store.files import LOG


def run_command(command: str, arguments: list[str]) -> int:
    """Check the command line, then let Hydra run it, once or for every job of a multirun.

    Args:
        command: A command of the registry that has a schema.
        arguments: The words after it.

    Returns:
        The exit status: 0, or 1 where a job has failed.

    Raises:
        BiotuneError: The command line is wrong, or a command without a run folder has failed.
        KeyboardInterrupt: The user pressed Ctrl-C, or the process received SIGTERM.
    """
    register()
    # Hydra does not know the flags of the output modes, so they are removed here
    arguments, mode = take_output_mode(arguments, *COMMANDS[command].modes)
    arguments = with_pairs_quoted(command, flags_first(command, arguments))
    if command == "train":
        arguments = _with_implied_strategy(arguments)
    end_cleanly()
    checked = precheck(command, arguments, mode)
    outcome = Outcome(checked.prepared)
    job = Job(command, mode, outcome)
    if checked.sweep is not None:
        return _run_sweep(checked.sweep, job)
    if checked.single is not None:  # composed already
        run_single(*checked.single, job)
    else:  # the config is printed; Hydra reads sys.argv itself, and the sub-command must look like part of the program's name
        sys.argv = [f"biotune {command}", *arguments]
        hydra.main(version_base="1.3", config_path=CONFIGS, config_name=command)(job)()
    if outcome.error is not None:
        raise outcome.error
    return 1 if outcome.failed else 0


def _run_sweep(sweep: Sweep, job: Job) -> int:
    """Let Hydra's launcher run the jobs, and make the table of all that their folders tell.

    Returns:
        The exit status: 0, or 1 where a job has not finished.
    """
    leaves_folders = COMMANDS[job.command].leaves_folder
    if leaves_folders and sweep.launcher != BASIC and job.mode is not OutputMode.QUIET:
        print(f"{sweep.jobs} jobs by {sweep.launcher}, each with its output in {sweep.folder}/JOB/{LOG}", flush=True)
    broken = False
    try:
        with composing(sweep.config_dir):
            run_sweep(sweep.config_name, sweep.in_its_folder, job)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(going_on(sweep.launcher) + sweep.how_to_go_on if leaves_folders else "") from None
    except Exception as error:  # of the launcher: jobs report their own
        broken = True
        _report(error, sweep)
    if job.outcome.error is not None:
        raise job.outcome.error
    if not leaves_folders:
        return int(broken or job.outcome.failed)
    return max(summarise_sweep(sweep.folder), int(broken or job.outcome.failed))


def _report(error: Exception, sweep: Sweep) -> None:
    """Print a launcher's error in one line; its traceback goes into the sweep's folder."""
    log = sweep.folder / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    what = f"{type(error).__name__}: {one_line(error)[:300].rstrip('.')}"
    print(f"biotune: hydra/launcher={sweep.launcher}: {what}. The traceback is in {log}. {sweep.how_to_go_on}", file=sys.stderr)


def _with_implied_strategy(arguments: list[str]) -> list[str]:
    """Add strategy=schedule after schedule=FILE, as if it had been typed, unless a strategy is named."""
    values = dict(argument.lstrip("+").partition("=")[::2] for argument in arguments)
    if values.get("schedule", "null") in ("", "null") or "strategy" in values or "strategy.name" in values:
        return arguments
    place = next(index for index, argument in enumerate(arguments) if argument.lstrip("+").startswith("schedule="))
    return [*arguments[: place + 1], "strategy=schedule", *arguments[place + 1 :]]
