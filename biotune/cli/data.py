"""`biotune data`: verify a copy of a dataset, list and clear the decoded cache; and the rows of `biotune list datasets`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from biotune.cli.groups import read_yaml
from biotune.config import DataConfig
from biotune.errors import ConfigError, DataError, did_you_mean
from biotune.plugins import load_plugins
from biotune.view import Cell, View
from biotune.voice import Voice, take_voice

_VERBS = ("check", "cache")
DATASET_COLUMNS = ["dataset", "classes", "train", "val", "test", "size", "here", "licence", "source"]
HELP = """\
  biotune data check dataset=NAME [KEY=VALUE...]   count what a copy holds and decode every picture of it
  biotune data cache                               list the decoded pictures that later runs share
  biotune data cache --clear [NAME]                remove them, of one dataset or of all
  --json                                           with each of them: one JSON object instead of a table
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


def check_dataset(config: DataConfig, voice: Voice) -> bool:
    """Check a copy and print what was found; returns whether it is whole."""
    from biotune.datasets.check import check_copy

    load_plugins(config.plugins)
    where = f" in {config.dataset.root}" if config.dataset.root is not None else ""
    with View(voice=voice) as view:
        view.fact("dataset", config.dataset.name)
        try:
            finding = check_copy(config.dataset, view.decoding)
        except DataError as error:
            view.fact("whole", False)
            view.fact("problems", str(error).splitlines())
            for line in str(error).splitlines():
                view.line(line)
            return False
        view.fact("whole", finding.is_whole)
        view.fact("broken", [{"picture": name, "reason": reason} for name, reason in finding.broken.items()])
        view.table(
            f"{config.dataset.name}{where}",
            ["what", "found", "official", "verdict"],
            [
                [
                    count.what,
                    count.found,
                    count.official,
                    None if count.official is None else "ok" if count.agrees else "differs",
                ]
                for count in finding.counts
            ],
            name="counts",
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

    arguments, voice = take_voice(arguments, Voice.JSON)
    if not arguments:
        found = entries()
        total = sum(entry.size for entry in found)
        rows = [
            [
                entry.dataset,
                entry.pictures,
                entry.geometry,
                Cell(entry.size, size(entry.size)),
                Cell(entry.used.isoformat(), f"{entry.used:%Y-%m-%d %H:%M}"),
            ]
            for entry in found
        ]
        folder = cache_folder() / "decoded"
        with View(voice=voice) as view:
            view.fact("folder", str(folder))
            view.fact("size", total)
            columns = ["dataset", "pictures", "geometry", "size", "last use"]
            view.table(f"{folder}: {size(total)}", columns, rows, name="entries")
        return 0
    if arguments[0] != "--clear" or len(arguments) > 2:
        raise ConfigError(f"biotune data cache {' '.join(arguments)}: takes nothing, or --clear [NAME].")
    name = arguments[1] if len(arguments) == 2 else None
    known = sorted({entry.dataset for entry in entries() if entry.dataset})
    if name is not None and name not in known:
        listed = f" It holds {', '.join(known)}." if known else " It is empty."
        raise ConfigError(f"biotune data cache --clear {name}: not in the cache.{did_you_mean(name, known)}{listed}")
    removed = clear(name)
    freed = sum(entry.size for entry in removed)
    with View(voice=voice) as view:
        view.fact("removed", len(removed))
        view.fact("freed", freed)
        view.line(f"{len(removed)} removed, {size(freed)} freed.")
    return 0


def size(count: int) -> str:
    """A number of bytes as one says it."""
    amount = float(count)
    for unit in ("bytes", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def dataset_row(name: str, file: Path, remark: str) -> list[Any]:
    """One row of `biotune list datasets`.

    Args:
        name: The choice's name.
        file: Its YAML.
        remark: The first comment in it, shown for datasets that biotune has no facts of.
    """
    from biotune.catalogue import CATALOGUE

    keys = read_yaml(file)
    facts = CATALOGUE.get(str(keys.get("name")))
    if facts is None or facts.loader != keys.get("loader"):
        facts = CATALOGUE.get(str(keys.get("loader")))
    if facts is None or keys.get("loader") == "folder":
        root = keys.get("root")
        here = None if root is None else Path(str(root)).expanduser().is_dir()
        return [name, None, None, None, None, None, _yes_or_no(here), None, remark]
    here = True
    if facts.needs:
        root = keys.get("root")
        here = root is not None and not facts.missing(Path(str(root)).expanduser())
    splits = ["own" if count is None else count for count in (facts.train, facts.val, facts.test)]
    return [name, facts.classes, *splits, facts.size, _yes_or_no(here), facts.licence, facts.source]


def _yes_or_no(value: bool | None) -> Cell:
    return Cell(value, {None: "", True: "yes", False: "no"}[value])
