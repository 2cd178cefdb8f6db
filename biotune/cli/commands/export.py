"""`biotune export DIR --format FORMAT`: hands a run's final model over to programs that do not have biotune."""

from __future__ import annotations

import sys
from pathlib import Path

from biotune.cli.arguments import Parser
from biotune.config.plugins import load_plugins
from biotune.store.files import CARD, EXPORT, EXPORTED_MODEL, PREPROCESSING, write_json, write_text


def export_parser() -> Parser:
    """Return the parser of the words after `biotune export`."""
    parser = Parser("biotune export", description="Write a run's final model for programs without biotune.", allow_abbrev=False)
    parser.add_argument("folder", metavar="DIR", type=Path, help="the folder of a finished run")
    parser.add_argument("--format", required=True, choices=list(EXPORTED_MODEL), help="the format of the model")
    parser.add_argument("--out", metavar="FOLDER", type=Path, help=f"a new folder (default: DIR/{EXPORT}/FORMAT)")
    parser.add_argument("--plugins", default="", help="modules to import first, separated by commas")
    return parser


def export(arguments: list[str]) -> int:
    """Write a folder with the model, its preprocessing and its card, and print the folder's path.

    Args:
        arguments: The words after `biotune export`.

    Returns:
        The exit status 0.

    Raises:
        BiotuneError: The arguments are wrong, the folder holds no finished run, the format does not take its network, what was
            written does not give the network's logits, or the new folder exists already.
    """
    options = export_parser().parse_args(arguments)
    load_plugins([name for name in options.plugins.split(",") if name])
    from biotune.report.read import read_finished_run
    from biotune.store.folders import check_new, new_folder_whole

    run = read_finished_run(options.folder)
    out = options.out or options.folder / EXPORT / options.format
    check_new(out)
    # these import torch
    from biotune.backbones.home import weights_origin
    from biotune.report.model_card import Exported, render_card
    from biotune.training.export.formats import check_exportable, write_model
    from biotune.training.export.preprocessing import preprocessing_facts
    from biotune.training.model import load_model

    backbone = run.config["backbone"]
    home = check_exportable(options.format, backbone["library"], backbone["name"])
    weights, licence = weights_origin(backbone["library"], backbone["name"], backbone["weights"])
    if sys.stderr.isatty():  # a large network takes a minute
        print(f"Exporting to {out}, and holding the result against the trained network …", file=sys.stderr)
    model = load_model(options.folder)
    facts = preprocessing_facts(model)
    with new_folder_whole(out) as folder:
        difference = write_model(options.format, model, home, folder)
        library, call = (None, None) if home is None else (home.library, home.call(len(model.classes)))
        write_json(folder / PREPROCESSING, facts)
        exported = Exported(options.format, library, call, weights, licence, facts, difference)
        write_text(folder / CARD, render_card(run, exported))
    print(out)
    return 0
