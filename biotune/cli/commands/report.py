"""`biotune report DIR…`: rebuilds a run's plots and page from its folder, or compares several runs on one page."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from biotune.cli.arguments import Parser
from biotune.cli.registry import COMMANDS
from biotune.errors import ConfigError


def report_parser() -> Parser:
    """Return the parser of the words after `biotune report`."""
    *others, last = (name for name, row in COMMANDS.items() if row.reported)
    parser = Parser(
        prog="biotune report",
        description=f"Rebuild the plots and the page of a run of 'biotune {', '.join(others)} or {last}' from its folder, "
        "or compare several runs on one page. Of a sweep's folder it makes the table and the page of its jobs.",
        allow_abbrev=False,
    )
    parser.add_argument("folders", metavar="DIR", nargs="+", type=Path, help="the folder of a finished run, or of a sweep")
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        help="where to write the page (default: DIR/report.html or DIR/sweep.html; report-N-runs.html here for several runs)",
    )
    parser.add_argument(
        "--optuna",
        metavar="URL",
        help="also write the search of each run as a study of Optuna into this storage, such as sqlite:///FILE",
    )
    return parser


def report(arguments: list[str]) -> int:
    """Write the page of one run, of a sweep, or one that compares several runs, and print its path; of a sweep its table too.

    With `--optuna` the searches are written as studies first.

    Args:
        arguments: The words after `biotune report`.

    Returns:
        The exit status: 0, or 1 for a sweep of which a job has not finished.

    Raises:
        BiotuneError: The arguments are wrong, or a folder holds no finished run.
    """
    options = report_parser().parse_args(arguments)
    folders: list[Path] = options.folders
    twice = [folder for folder, times in Counter(folder.resolve() for folder in folders).items() if times > 1]
    if twice:
        raise ConfigError(f"{twice[0]}: is named twice; name each run once.")
    from biotune.cli.launch.sweep import is_sweep, summarise_sweep
    from biotune.report.read import is_asked_search, is_comparison, read_finished_run
    from biotune.report.run import write_report
    from biotune.store.files import REPORT, check_writable

    if options.out is not None:
        check_writable(options.out)  # before the folders are read and drawn
    if options.optuna is not None:
        _write_studies(folders, options.optuna)
    if any(sweeps := [is_sweep(folder) for folder in folders]):
        if len(folders) > 1:
            raise ConfigError(f"{folders[sweeps.index(True)]}: is a sweep; name it alone, or its jobs.")
        return summarise_sweep(folders[0], options.out)
    if any(is_comparison(folder) for folder in folders):
        from biotune.report.comparison_page import check_comparable, read_compared, write_strategies

        compared = [read_compared(folder) for folder in folders]
        check_comparable(compared)
        alone = folders[0] if len(folders) == 1 else None
        default = Path(f"report-{len(folders)}-comparisons.html") if alone is None else alone / REPORT
        print(write_strategies(compared, options.out or default, None if alone is None else alone / "plots"))
        return 0
    if any(asked := [is_asked_search(folder) for folder in folders]):
        if len(folders) > 1:
            raise ConfigError(f"{folders[asked.index(True)]}: is a search without a test; name it alone.")
        from biotune.report.search_page import read_asked_search, write_asked_search

        print(write_asked_search(read_asked_search(folders[0]), options.out))
        return 0
    runs = [read_finished_run(folder) for folder in folders]
    if len(runs) == 1:
        print(write_report(runs[0], options.out))
        return 0
    from biotune.report.runs_page import write_comparison

    print(write_comparison(runs, options.out or Path(f"report-{len(runs)}-runs.html")))
    return 0


def _write_studies(folders: list[Path], url: str) -> None:
    """Write the searches of folders as studies of Optuna, after all of them have been read."""
    from biotune.report.optuna_study import open_storage, read_evaluated, write_study

    storage = open_storage(url)
    for evaluated in [read_evaluated(folder) for folder in folders]:
        print(write_study(evaluated, storage))
