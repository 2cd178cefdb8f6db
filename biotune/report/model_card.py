"""The card of an exported model: Markdown with the header that the Hugging Face Hub reads. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import yaml

from biotune.config.key import height_and_width
from biotune.report.read import Run, Score
from biotune.report.templating import template
from biotune.report.verdict import about_model

_OWN_IMAGES = ("folder", "table")  # datasets of images that only the user has
_LIBRARIES = {"onnx": "onnx", "torchscript": "pytorch", "timm": "timm"}  # as the Hub calls them; safetensors: the network's own


@dataclass(frozen=True)
class Exported:
    """What a card states besides the run.

    Attributes:
        kind: The format.
        library: The library that builds the network without biotune, torchvision or timm; None if none does.
        call: Its call as Python code; None if there is none.
        weights: The origin of the weights that the training began with.
        licence: Their licence; None where it is unknown.
        preprocessing: The content of `preprocessing.json`.
        difference: The largest difference of the logits, as a share of the largest logit.
    """

    kind: str
    library: str | None
    call: str | None
    weights: str
    licence: str | None
    preprocessing: dict[str, Any]
    difference: float


def render_card(run: Run, exported: Exported) -> str:
    """Render the card as Markdown.

    Args:
        run: The run whose final model was exported.
        exported: How it was exported.
    """
    height, width = height_and_width(exported.preprocessing["crop"])
    columns = ["val_macro_accuracy"] if "val_macro_accuracy" in run.test else []
    columns += list(run.scores[run.method])
    return str(
        template("model_card.md").render(
            header=yaml.safe_dump(_header(run, exported), sort_keys=False, allow_unicode=True),
            title=_title(run),
            run=run,
            seed=_seed(run),
            about_model=about_model(run.final),
            exported=exported,
            height=height,
            width=width,
            data="images of one's own" if _is_own(run) else _dataset(run),
            multiples=list(zip(run.schedule.blocks, run.schedule.lr_weights, strict=True)),
            score_names=columns,
            trained=_trained(run, columns),
            confirmed=_confirmed(run),
        )
    )


def _is_own(run: Run) -> bool:
    dataset = run.config["dataset"]
    # one that the user has given a name is told by it
    return dataset["name"] in _OWN_IMAGES or (dataset["name"] == "hf" and not dataset.get("hub"))


def _dataset(run: Run) -> str:
    """The name of a dataset that others have too; on the Hub, that of its repository."""
    return str(run.config["dataset"].get("hub") or run.config["dataset"]["name"])


def _title(run: Run) -> str:
    return f"{run.config['backbone']['name']} fine-tuned on {'own images' if _is_own(run) else _dataset(run)}"


def _seed(run: Run) -> int | None:
    """The training seed whose model is exported; None for one that is made of several, and in folders of the first versions."""
    return run.model_seed if run.final.get("model", "best") == "best" else None


def _trained(run: Run, columns: list[str]) -> list[dict[str, Any]]:
    """One row per final training run of what is returned; the exported model is one of them, or made of them."""
    own = run.test[run.test["strategy"] == run.method]
    return [
        {"seed": int(row["seed"]), "exported": row["seed"] == _seed(run), "scores": [float(row[name]) for name in columns]}
        for row in own.to_dict("records")
    ]


def _confirmed(run: Run) -> Score | None:
    """The score of what is returned in the confirmation; None if that chose another finalist, or nothing was confirmed."""
    another = run.among_models is not None and run.among_models["schedule"] != run.confirmed.get("chosen")
    return None if run.search is None or another else run.search.confirmed


def _header(run: Run, exported: Exported) -> dict[str, Any]:
    """The metadata of the Hub's model cards."""
    dataset = _dataset(run)
    metrics = list(run.scores[run.method])
    header: dict[str, Any] = {
        "library_name": _LIBRARIES.get(exported.kind, exported.library),
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "fine-tuning", "biotune", exported.kind],
        "license": exported.licence or "unknown",
    }
    if not _is_own(run):
        header["datasets"] = [dataset]
    header["metrics"] = metrics
    own = [dict(zip(metrics, row["scores"], strict=True)) for row in _trained(run, metrics) if row["exported"]]
    if run.final.get("model", "best") != "best":
        own = [{name: run.final["test"][name] for name in metrics}]
    results = [
        {"type": name, "value": value, "name": f"{name} on the test set"}
        for scores in own
        for name, value in scores.items()
        if math.isfinite(value)
    ]
    if results:
        source = {"name": "own images", "type": "imagefolder"} if _is_own(run) else {"name": dataset, "type": dataset}
        task = {"type": "image-classification", "name": "Image classification"}
        header["model-index"] = [{"name": _title(run), "results": [{"task": task, "dataset": source, "metrics": results}]}]
    return header
