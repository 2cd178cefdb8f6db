"""`biotune data`: verify a copy of a dataset, list and clear the decoded cache; and the rows of `biotune list datasets`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from biotune.config import DataConfig
from biotune.errors import ConfigError, DataError, did_you_mean
from biotune.plugins import load_plugins
from biotune.view import View

_VERBS = ("check", "cache")
DATASET_COLUMNS = ["dataset", "classes", "train", "val", "test", "size", "here", "licence", "source"]
HELP = """\
  biotune data check dataset=NAME [KEY=VALUE...]   count what a copy holds and decode every picture of it
  biotune data cache                               list the decoded pictures that later runs share
  biotune data cache --clear [NAME]                remove them, of one dataset or of all
"""


def data(arguments: list[str]) -> int:
    """Run `biotune data check` or `biotune data cache`.

    Returns:
        The exit status: 0, or 1 where a check has found something wrong.

    Raises:
        ConfigError: Neither of the two, or options they do not have.
    """
    verb, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if verb in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    if verb not in _VERBS:
        raise ConfigError(
            f"biotune data {verb}: no such command.{did_you_mean(verb, _VERBS)} "
            "There are 'biotune data check dataset=NAME' and 'biotune data cache [--clear [NAME]]'."
        )
    if verb == "cache":
        return _cache(rest)
    if several := [argument for argument in rest if argument in ("-m", "--multirun")]:
        raise ConfigError(f"{several[0]}: 'biotune data check' takes one dataset at a time.")
    from biotune.cli.hydra_app import run_command

    return run_command("data", rest)


def check_dataset(config: DataConfig) -> bool:
    """Check a copy and print what was found; returns whether it is whole."""
    from biotune.datasets.check import check_copy

    load_plugins(config.plugins)
    where = f" in {config.dataset.root}" if config.dataset.root is not None else ""
    with View() as view:
        try:
            finding = check_copy(config.dataset, view.decoding)
        except DataError as error:
            for line in str(error).splitlines():
                view.line(line)
            return False
        view.table(
            f"{config.dataset.name}{where}",
            ["", "found", "official", "verdict"],
            [
                [
                    count.what,
                    f"{count.found:,}",
                    "" if count.official is None else f"{count.official:,}",
                    "" if count.official is None else "ok" if count.agrees else "differs",
                ]
                for count in finding.counts
            ],
        )
        for name, reason in finding.broken.items():
            view.line(f"broken: {name} ({reason})")
        if finding.is_whole:
            view.line("Every picture can be decoded; the copy is whole.")
        else:
            differing = ", ".join(count.what for count in finding.counts if not count.agrees)
            counts = f" Counts differ from the official ones: {differing}." if differing else ""
            view.line(f"{len(finding.broken):,} broken pictures.{counts}")
    return finding.is_whole


def _cache(arguments: list[str]) -> int:
    from biotune.datasets.cache import clear, entries
    from biotune.datasets.decoded import cache_folder

    if not arguments:
        found = entries()
        total = sum(entry.size for entry in found)
        rows = [
            [entry.dataset, f"{entry.pictures:,}", entry.geometry, size(entry.size), f"{entry.used:%Y-%m-%d %H:%M}"]
            for entry in found
        ]
        with View() as view:
            view.table(
                f"{cache_folder() / 'decoded'}: {size(total)}", ["dataset", "pictures", "geometry", "size", "last use"], rows
            )
        return 0
    if arguments[0] != "--clear" or len(arguments) > 2:
        raise ConfigError(f"biotune data cache {' '.join(arguments)}: takes nothing, or --clear [NAME].")
    name = arguments[1] if len(arguments) == 2 else None
    known = sorted({entry.dataset for entry in entries() if entry.dataset})
    if name is not None and name not in known:
        listed = f" It holds {', '.join(known)}." if known else " It is empty."
        raise ConfigError(f"biotune data cache --clear {name}: not in the cache.{did_you_mean(name, known)}{listed}")
    removed = clear(name)
    with View() as view:
        view.line(f"{len(removed)} removed, {size(sum(entry.size for entry in removed))} freed.")
    return 0


def size(count: int) -> str:
    """A number of bytes as one says it."""
    amount = float(count)
    for unit in ("bytes", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def dataset_row(name: str, file: Path | None, remark: str) -> list[str]:
    """One row of `biotune list datasets`.

    Args:
        name: The choice's name.
        file: Its YAML.
        remark: The first comment in it, shown for datasets that biotune has no facts of.
    """
    from biotune.datasets.catalogue import CATALOGUE

    keys = _keys(file)
    facts = CATALOGUE.get(str(keys.get("name")))
    if facts is None or facts.loader != keys.get("loader"):
        facts = CATALOGUE.get(str(keys.get("loader")))
    if facts is None or keys.get("loader") == "folder":
        root = keys.get("root")
        here = "" if root is None else "yes" if Path(str(root)).expanduser().is_dir() else "no"
        return [name, "", "", "", "", "", here, "", remark]
    if facts.needs:
        root = keys.get("root")
        here = "no" if root is None or facts.missing(Path(str(root)).expanduser()) else "yes"
    else:
        here = "yes"
    splits = ["own" if count is None else f"{count:,}" for count in (facts.train, facts.val, facts.test)]
    return [name, str(facts.classes), *splits, facts.size, here, facts.licence, facts.source]


def _keys(file: Path | None) -> dict[str, Any]:
    try:
        keys = yaml.safe_load(file.read_text(encoding="utf-8")) if file else {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        keys = {}
    return keys if isinstance(keys, dict) else {}
