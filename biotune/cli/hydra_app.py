"""The commands that Hydra composes a config for: registration of the schema, Hydra's own run, and what a job does."""

from __future__ import annotations

import json
import logging
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from biotune.cli.composing import CONFIGS
from biotune.cli.precheck import Checked, precheck
from biotune.config import COMMANDS
from biotune.errors import BiotuneError, one_line
from biotune.store import RESULT, STATUS

_log = logging.getLogger("biotune")
_PROCESS_SUFFIX = secrets.token_hex(2)


def register() -> None:
    """Make the schema and the resolvers known to Hydra; safe to call twice."""
    store = ConfigStore.instance()
    for command, schema in COMMANDS.items():
        store.store(name=f"{command}_schema", node=schema)
    OmegaConf.register_new_resolver("unique", lambda: _PROCESS_SUFFIX, use_cache=True, replace=True)


def run_command(command: str, arguments: list[str]) -> int:
    """Check what was typed, then let Hydra run it, once or for every job of a multirun."""
    register()
    if command == "train":
        arguments = _with_implied_strategy(arguments)
    checked = precheck(command, arguments)
    # Hydra reads the command line itself; the sub-command must look like part of the program's name
    sys.argv = [f"biotune {command}", *arguments]
    outcome = _Outcome(checked)
    _CURRENT[:] = [outcome]
    _JOBS[command]()
    if outcome.sweep is not None:
        # a job that fails before it can write its status is in no summary
        return max(_summarise_sweep(outcome.sweep), int(outcome.failed))
    return 1 if outcome.failed else 0


def _with_implied_strategy(arguments: list[str]) -> list[str]:
    """schedule=FILE says which strategy is meant, unless one is named; it is added as if it had been typed."""
    values = dict(argument.lstrip("+").partition("=")[::2] for argument in arguments)
    if values.get("schedule", "null") in ("", "null") or "strategy" in values or "strategy.name" in values:
        return arguments
    place = next(index for index, argument in enumerate(arguments) if argument.lstrip("+").startswith("schedule="))
    return [*arguments[: place + 1], "strategy=schedule", *arguments[place + 1 :]]


class _Outcome:
    """What the jobs in this process came to; Hydra itself tells nothing."""

    def __init__(self, checked: Checked) -> None:
        self.checked = checked
        self.failed = False
        self.sweep: Path | None = None


_CURRENT: list[_Outcome] = []


def _job(command: str, cfg: DictConfig) -> None:
    """One job: a typed config, a folder, a recipe. Errors end the job, never the process: later jobs must still run."""
    from biotune import recipes
    from biotune.view import View

    outcome = _CURRENT[0] if _CURRENT else None
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    recipe: Callable[..., Any] = getattr(recipes, command)
    config = OmegaConf.to_object(cfg)
    if outcome is not None and hydra_config.mode == RunMode.MULTIRUN:
        outcome.sweep = Path(hydra_config.sweep.dir)
    handler = _log_to(folder)
    try:
        with View() as view:
            if hydra_config.mode == RunMode.MULTIRUN:
                view.line(f"job {hydra_config.job.num}: {' '.join(hydra_config.overrides.task)}", "bold")
            recipe(config, folder, view)
    except KeyboardInterrupt:
        raise
    except Exception as error:
        _log.exception("%s failed", command)
        text = str(error) if isinstance(error, BiotuneError) else f"{type(error).__name__}: {one_line(error)}"
        hint = "" if isinstance(error, BiotuneError) else f" The traceback is in {folder / 'run.log'}."
        print(f"biotune: {text}{hint}", file=sys.stderr)
        if outcome is not None:
            outcome.failed = True
    finally:
        _log.removeHandler(handler)
        handler.close()


def _log_to(folder: Path) -> logging.Handler:
    handler = logging.FileHandler(folder / "run.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    _log.propagate = False
    return handler


@hydra.main(version_base="1.3", config_path=CONFIGS, config_name="run")
def _run(cfg: DictConfig) -> None:
    _job("run", cfg)


@hydra.main(version_base="1.3", config_path=CONFIGS, config_name="train")
def _train(cfg: DictConfig) -> None:
    _job("train", cfg)


@hydra.main(version_base="1.3", config_path=CONFIGS, config_name="evaluate")
def _evaluate(cfg: DictConfig) -> None:
    _job("evaluate", cfg)


@hydra.main(version_base="1.3", config_path=CONFIGS, config_name="blocks")
def _blocks(cfg: DictConfig) -> None:
    from biotune.cli.listing import show_blocks

    config: Any = OmegaConf.to_object(cfg)
    show_blocks(config)


@hydra.main(version_base="1.3", config_path=CONFIGS, config_name="data")
def _data(cfg: DictConfig) -> None:
    from biotune.cli.data import check_dataset

    config: Any = OmegaConf.to_object(cfg)
    if not check_dataset(config) and _CURRENT:
        _CURRENT[0].failed = True


_JOBS: dict[str, Callable[[], None]] = {"run": _run, "train": _train, "evaluate": _evaluate, "blocks": _blocks, "data": _data}


def _summarise_sweep(folder: Path) -> int:
    """A line a job, with what tells it from the others and its score; the jobs' own folders are what is read."""
    from biotune.view import View, mean_sd

    rows, failed = [], False
    for job in sorted((path for path in folder.iterdir() if (path / STATUS).is_file()), key=_job_number):
        status = json.loads((job / STATUS).read_text(encoding="utf-8"))
        overrides = OmegaConf.load(job / ".hydra" / "overrides.yaml")
        result = json.loads((job / RESULT).read_text(encoding="utf-8")) if (job / RESULT).is_file() else {}
        failed = failed or status["state"] != "finished"
        score = mean_sd(result["test"]["macro_accuracy"]) if "test" in result else status["error"] or ""
        full = result.get("baselines", {}).get("full")
        rows.append([job.name, " ".join(overrides), status["state"], score, mean_sd(full["macro_accuracy"]) if full else ""])
    with View() as view:
        columns = ["job", "overrides", "state", "test macro accuracy", "full fine-tuning"]
        view.table(f"Sweep {folder}", columns, rows)
    return 1 if failed else 0


def _job_number(path: Path) -> tuple[int, str]:
    return (int(path.name) if path.name.isdigit() else sys.maxsize, path.name)
