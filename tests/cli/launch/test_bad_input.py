"""Bad input of every kind: one line that names the key, the rule or the remedy; status 2; nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trees import folder_tree, write_image

from biotune.backbones.registry import build_network
from biotune.config.sections import BackboneConfig
from biotune.schedule.schedule_file import save_text
from biotune.strategies.registry import fixed_schedule

GOOD = ["dataset=folder", "backbone.weights=none", "evolution.folds=1"]
FEW = ["experiment=smoke"]
VIEWS = ["features.views=4", "training.augment=standard"]

# what was typed, and what the line must hold
BAD = [
    (["rnu"], ["rnu: no such command", "Did you mean run?"]),
    (["frobnicate"], ["no such command", "Commands: run, train, compare, evaluate"]),
    (["run", "dataset=CUB"], ["dataset=CUB", "Did you mean cub?", "biotune list datasets"]),
    (["run", "backbone=resnet-50"], ["backbone=resnet-50", "no such backbone", "resnet50", "biotune list backbones"]),
    (["run", "evolution=frob"], ["evolution=frob", "biotune list evolution'"]),
    (["train", "strategy=ful"], ["strategy=ful", "Did you mean full?", "biotune list strategies"]),
    (["run", "experiment=papre"], ["experiment=papre", "Did you mean paper?"]),
    (["run", "tracker=mlfow"], ["tracker=mlfow", "Did you mean mlflow?", "biotune list trackers"]),
    (["run", "tracker=[wandb,mlfow]"], ["tracker=mlfow: no such tracker"]),
    (["run", "tracker=null"], ["tracker=null", "give tracker=[] for none"]),
    (["run", "experiment=null"], ["experiment=null", "leave it out for none"]),
    (["run", "tracker=mlflow,wandb"], ["tracker=mlflow,wandb", "a list needs brackets"]),
    (["run", "tracker.mlflow.experiment=mine"], ["tracker.mlflow.experiment=mine", "needs tracker=mlflow"]),
    (["run", "tracker=mlflow", "tracker.mlflow.uri=https://me:pass@host"], ["tracker.mlflow.uri", "MLFLOW_TRACKING_PASSWORD"]),
    (["run", "tracker=wandb", "tracker.wandb.mode=dry"], ["tracker.wandb.mode=dry", "online, offline"]),
    (["run", "tracker.patience=-1"], ["tracker.patience=-1", "at least 0"]),
    (["blocks", "tracker=mlflow"], ["tracker=mlflow", "'biotune blocks' has no group tracker"]),
    (["run", "evolution.popsize=5"], ["evolution.popsize=5: no such key", "evolution.population_size"]),
    (["run", "seeds=5"], ["seeds=5: no such key", "training.seeds", "confirm.seeds", "test.seeds"]),
    (["run", "frobnicate=1"], ["frobnicate=1: no such key"]),
    (["run", "schedule=x.yaml"], ["schedule=x.yaml: no such key"]),
    (["run", "strategy=full"], ["strategy=full", "'biotune run' has no group strategy"]),
    (["blocks", "dataset=cub"], ["dataset=cub", "'biotune blocks' has no group dataset"]),
    (["run", "evolution.population_size=3"], ["evolution.population_size=3", "at least 4"]),
    (["run", "evolution.elites=20"], ["evolution.elites=20", "smaller than evolution.population_size=20"]),
    (["run", "training.epochs=0"], ["training.epochs=0", "at least 1"]),
    (["run", "evolution.folds=0"], ["evolution.folds=0", "at least 1"]),
    (
        ["run", "evolution.folds=21", "evolution.resplit=false"],
        ["class 0", "20 training images", "evolution.folds=21", "set evolution.folds=20"],
    ),
    (
        ["run", "dataset.max_per_class=1", "evolution.folds=2", "evolution.resplit=false"],
        ["class 0 has 1 training image", "set evolution.folds=1"],
    ),
    (["run", "training.seeds=[]"], ["training.seeds=[]", "at least one"]),
    (["run", "training.seeds=[1,1]"], ["training.seeds=[1,1]", "must not repeat 1"]),
    (["run", "training.seeds=5"], ["training.seeds=5", "a list of integers like [1,2,3]"]),
    (["run", "confirm.seeds=[684]"], ["confirm.seeds=[684]", "684 is also in training.seeds"]),
    (["run", "training.lr=fast"], ["training.lr=fast", "must be a number or auto"]),
    (["run", "training.lr=true"], ["training.lr=true", "must be a number or auto"]),
    (["compare", "training.lr=auto"], ["training.lr=auto", "compare.lr_factors", "give a number"]),
    (["evaluate", "genotypes=genotypes.csv", "training.lr=auto"], ["training.lr=auto", "biotune evaluate", "needs a number"]),
    (["run", "training.lr=auto", "training.lr_grid=[]"], ["training.lr_grid=[]", "at least one"]),
    (["run", "training.lr="], ["training.lr=", "must be a number"]),
    (["run", "training.lr=0"], ["training.lr=0", "greater than 0"]),
    (["run", "training.lr=nan"], ["training.lr=nan", "must be"]),
    (["run", "seed=1.5"], ["seed=1.5", "must be an integer"]),
    (["run", "seed=-1"], ["seed=-1", "at least 0"]),
    (["run", "dataset.download=maybe"], ["dataset.download=maybe", "true or false"]),
    (["run", "training.optimizer=lion"], ["training.optimizer=lion", "one of adam, adamw, sgd"]),
    (["run", "dataset.shift=fog"], ["dataset.shift=fog", "noise, blur, invert, low_contrast"]),
    (["run", "executor.threads=0"], ["executor.threads=0", "at least 1"]),
    (["run", "dataset.val_fraction=1"], ["dataset.val_fraction=1", "less than 1"]),
    (["run", "device=gpu"], ["device=gpu", "auto, cpu, cuda, cuda:INDEX or mps"]),
    (["run", "device=cuda:99"], ["device=cuda:99", "device=auto or device=cpu"]),
    (["run", "=5"], ["=5", "cannot be read as KEY=VALUE", "no key"]),
    (["run", "a..b=1"], ["a..b=1", "cannot be read as KEY=VALUE"]),
    (["run", "seed"], ["seed: cannot be read as KEY=VALUE"]),
    (["run", "dataset.root=~/images"], ["dataset.root=~/images", "$HOME"]),
    (["run", "+x=1"], ["+x=1: no such key"]),
    (["run", "~seed"], ["~seed", "neither added nor deleted"]),
    (["run", "training=[adam,sgd]"], ["training=[adam,sgd]", "takes one training"]),
    (["run", "training={lr: 1}"], ["training=", "lr"]),
    (["run", "seed=1,2"], ["seed=1,2", "need -m"]),
    (["run", "dataset=digits,cub"], ["dataset=digits,cub", "need -m"]),
    (["run", "-m", "seed=1,two"], ["seed=1,two", "must be an integer"]),
    (["run", "-m", "training.lr=interval(1,2)"], ["training.lr=interval(1,2)", "training.lr=1,2"]),
    (["run", "-m", "seed=1,-1"], ["seed=-1", "at least 0"]),
    (["run", "--config-dir", "nowhere"], ["--config-dir nowhere", "no such folder"]),
    (["run", "--config-dir"], ["--config-dir", "expected one argument"]),
    (["run", "--config-path", "nowhere"], ["--config-path nowhere", "--config-dir"]),
    (["run", "--config-name", "train"], ["--config-name train", "not a config of 'biotune run'"]),
    (["run", "--frobnicate"], ["--frobnicate", "biotune run --help"]),
    (["run", "--resolve"], ["--resolve needs --cfg"]),
    (["run", "--cfg", "frob"], ["--cfg", "job", "hydra"]),
    (["run", "hydra.run.dir=file/below"], ["hydra.run.dir=", "is a file"]),
    (["run", "dataset=folder"], ["dataset.root", "must be set", "one folder per class"]),
    (["run", *GOOD, "dataset.root=nowhere"], ["dataset.root=nowhere", "no such folder"]),
    (["run", *GOOD, "dataset.root=file"], ["dataset.root=file", "no such folder"]),
    (["run", *GOOD, "dataset.root=one_class"], ["dataset.root=one_class", "1 class folders", "at least two"]),
    (["run", *GOOD, "dataset.root=empty_class"], ["dataset.root=empty_class", "class folder dog holds no images", "jpg"]),
    (["run", *GOOD, "dataset.root=small_class"], ["class dog", "2", "Add images"]),
    (["run", *GOOD, "dataset.root=text"], ["cat/bad.jpg", "dataset.skip_broken=true"]),
    (["run", *GOOD, "dataset.root=truncated"], ["cat/bad.jpg", "runcated", "dataset.skip_broken=true"]),
    (["run", *GOOD, "dataset.root=zero"], ["cat/bad.jpg", "dataset.skip_broken=true"]),
    (["run", *GOOD, "dataset.root=images", "dataset.shift=blur"], ["dataset.shift=blur", "dataset=digits"]),
    (["run", "dataset=table", "dataset.root=images"], ["dataset.table: must be set", "CSV, TSV or Parquet"]),
    (["run", "dataset=table", "dataset.table=nowhere.csv"], ["dataset.table=nowhere.csv: no such file", "dataset.root"]),
    (["run", "dataset=table", "dataset.table=wrong.csv"], ["wrong.csv", "no column", "dataset.image_column"]),
    (["run", "dataset=hf"], ["dataset.root and dataset.hub", "one must be set"]),
    (["run", *GOOD, "dataset.label_column=y"], ["dataset.label_column=y", "only dataset=table or hf"]),
    (["run", "dataset=cub", "dataset.root=images"], ["dataset.root=images", "images.txt", "dataset.download=true"]),
    (["run", "backbone.weights=nowhere.pt"], ["backbone.weights=nowhere.pt", "no such file", "default, none"]),
    (["run", "backbone.weights=file"], ["backbone.weights=file"]),
    (["run", "backbone.weights=resnet18.pt"], ["backbone.weights=resnet18.pt", "does not fit", "missing", "unexpected"]),
    (["train", "strategy=schedule"], ["strategy=schedule", "schedule=FILE"]),
    (["train", "schedule=nowhere.yaml"], ["schedule=nowhere.yaml", "cannot be read"]),
    (["train", "schedule=file"], ["schedule=file", "not a schedule file"]),
    (["train", "schedule=other.yaml"], ["schedule=other.yaml", "does not fit glyphnet", "stem"]),
    (["train", "schedule=other.yaml", "strategy=full"], ["schedule=other.yaml", "strategy=full", "one of the two"]),
    (["evaluate"], ["genotypes: must be given", "CSV"]),
    (["evaluate", "genotypes=nowhere.csv"], ["genotypes=nowhere.csv"]),
    (["evaluate", "genotypes=wrong.csv"], ["genotypes=wrong.csv", "lacks", "layer4", "frob", "stem, layer1"]),
    (["evaluate", "genotypes=outside.csv"], ["genotypes=outside.csv", "line 2", "head", "[0, 1]"]),
    (["list"], ["no such list", "datasets, backbones"]),
    (["list", "dataset"], ["no such list", "Did you mean datasets?"]),
    (["list", "datasets", "--frob"], ["--frob", "--config-dir"]),
    (["list", "datasets", "--config-dir", "nowhere"], ["--config-dir nowhere", "no such folder"]),
    (["train", "strategy=biotune"], ["strategy=biotune", "is a search", "biotune run"]),
    (["train", "strategy=full", "strategy.alpha=0.1"], ["strategy.alpha=0.1", "strategy=full", "l2_sp and l1_sp"]),
    (["train", "strategy=lora", "strategy.rank=0"], ["strategy.rank=0", "at least 1"]),
    (["compare", "strategies=[linear_probe]"], ["strategies=[linear_probe]", "must hold full"]),
    (["compare", "strategies=[full,lorra]"], ["lorra", "no such strategy", "Did you mean lora?"]),
    (["compare", "strategies=[full,schedule]"], ["strategies=[full,schedule]", "schedule=FILE"]),
    (["compare", "compare.tune_seeds=[1]"], ["compare.tune_seeds=[1]", "must be fresh", "test.seeds"]),
    (["compare", "compare.lr_factors=[1,0]"], ["compare.lr_factors", "greater than 0"]),
    (["compare", "strategy=lora"], ["strategy=lora", "'biotune compare' has no group strategy"]),
    (["run", "evolution.surrogate=none", "evolution.ranking=fitness"], ["evolution.screen=80", "needs evolution.surrogate=gp"]),
    (["run", "evolution.ranking=predicted", "evolution=plain"], ["evolution.ranking=predicted", "evolution.surrogate=gp"]),
    (["run", "evolution.resplit=false"], ["evolution.folds=auto", "evolution.resplit=true"]),
    (
        ["run", "evolution.resplit=false", "evolution.folds=2", "confirm.splits=3"],
        ["confirm.splits=3", "evolution.resplit=true", "confirm.splits=0"],
    ),
    (["run", "evolution.folds=many"], ["evolution.folds=many", "an integer or auto"]),
    (["run", "evolution.exploitation=true"], ["evolution.spread=true", "evolution.exploitation=false"]),
    (["run", "confirm.baselines=[biotune]"], ["confirm.baselines=[biotune]", "no baseline"]),
    (["run", "confirm.baselines=[linear_prob]"], ["confirm.baselines", "linear_prob ", "Did you mean linear_probe"]),
    (["run", "evolution.surrogate=none"], ["evolution.screen=80", "needs evolution.surrogate=gp"]),
    (
        ["run", "evolution.surrogate=none", "evolution.screen=1"],
        ["evolution.ranking=predicted", "give evolution.ranking=fitness"],
    ),
    (["run", "evolution.momentum=true"], ["evolution.momentum=true", "evolution.offspring=schedules"]),
    (
        ["run", "evolution=random", "evolution.offspring=schedules"],
        ["evolution.offspring=schedules", "needs evolution=biotune"],
    ),
    (["run", "evolution.population_size=10"], ["evolution.elites=16", "smaller than evolution.population_size=10"]),
    (["run", "evolution.screen=1"], ["evolution.surrogate=gp", "evolution.screen=1", "2 or more"]),
    (["run", "evolution.objectives=[accuracy,carbon]"], ["carbon is no cost", "trainable_params, macs, seconds, memory"]),
    (["run", "evolution.objectives=[macs]"], ["evolution.objectives=[macs]", "must be accuracy, then at most two of"]),
    (["run", "evolution.objectives=[]"], ["evolution.objectives=[]", "at least one"]),
    (
        ["run", "experiment=paper", "evolution.objectives=[accuracy,macs]"],
        ["evolution.objectives=[accuracy,macs]", "needs evolution.mating=brood", "not sequential"],
    ),
    (["run", "evolution=screened", "evolution.objectives=[accuracy,macs]"], ["evolution.exploitation=true", "give false"]),
    (["run", "evolution=random", "evolution.objectives=[accuracy,macs]"], ["needs evolution=biotune, not random"]),
    (["compare", "evolution.objectives=[accuracy,macs]"], ["'biotune compare' compares scores alone", "'biotune run'"]),
    (["run", "evolution.mating=sequential"], ["evolution.screen=80", "needs evolution.mating=brood"]),
    (["run", "evolution=genetic", "evolution.surrogate=gp", "evolution.screen=5"], ["evolution.screen=5", "evolution=biotune"]),
    (["run", "evolution.freezing=false", "evolution.fixed_threshold=0.5"], ["evolution.fixed_threshold=0.5", "freezing=false"]),
    (
        ["run", "evolution.unfreezing=upwards"],
        ["evolution.unfreezing=upwards", "together, last_to_first, first_to_last, evolved"],
    ),
    (
        ["run", "evolution=cma_es", "evolution.unfreezing=evolved"],
        ["evolution.unfreezing=evolved", "needs evolution=biotune", "cma_es"],
    ),
    (["run", "evolution.sampler=gp"], ["evolution.sampler=gp: needs evolution=optuna."]),
    (["run", "evolution=optuna", "evolution.sampler=nsga"], ["evolution.sampler=nsga", "must be one of tpe, gp, cmaes"]),
    (["run", "training.head_start=warm"], ["training.head_start=warm", "fresh, probe, evolved"]),
    (["train", "training.head_start=evolved"], ["training.head_start=evolved", "'biotune train'", "fresh or probe"]),
    (
        ["evaluate", "genotypes=x.csv", "training.head_start=evolved"],
        ["training.head_start=evolved", "'biotune evaluate'", "fresh or probe"],
    ),
    (
        ["run", "evolution=random", "training.head_start=evolved"],
        ["training.head_start=evolved", "needs evolution=biotune", "random", "fresh or probe"],
    ),
    (["run", "final.model=stew"], ["final.model=stew", "best, soup, ensemble"]),
    (["run", "final.temperature=1.5"], ["final.temperature=1.5", "true or false"]),
    (["train", "final.model=ensemble", "test.seeds=[1]"], ["final.model=ensemble", "test.seeds=[1] names one", "give more"]),
    (
        ["run", "training.head_start=fresh", "final.model=soup"],
        ["final.model=soup", "training.head_start=fresh", "give training.head_start=probe, or final.model=ensemble"],
    ),
    (
        ["train", "strategy=schedule", "schedule=whole.yaml", "final.model=soup"],
        ["final.model=soup", "schedule=whole.yaml", "give training.head_start=probe, or final.model=ensemble"],
    ),
    (["compare", "final.model=soup"], ["final.model=soup: no such key"]),
    (
        ["train", "backbone.head=keep", "training.head_start=probe"],
        ["training.head_start=probe", "backbone.head=keep", "training.head_start=fresh"],
    ),
    (["run", "dataset.image_size=[96,4]"], ["dataset.image_size=[96,4]", "at least 8"]),
    (["run", "dataset.image_size=wide"], ["dataset.image_size=wide", "[HEIGHT,WIDTH]"]),
    (
        ["train", "backbone=vit_b_16", "backbone.weights=none", "dataset.image_size=[96,160]"],
        ["dataset.image_size=[96,160]", "vit_b_16 does not take images of 96 × 160 pixels"],
    ),
    (["run", "training.ema=1"], ["training.ema=1", "less than 1"]),
    (["run", "training.augment=flip"], ["training.augment=flip", "one of none, standard, randaugment"]),
    (["run", "features.views=4"], ["features.views=4", "needs training.augment", "training.augment=standard"]),
    (["run", *VIEWS, "training.mixup=0.2"], ["features.views=4", "training.mixup=0.2", "leave one out"]),
    (["run", *VIEWS, "features.max_gb=0"], ["features.views=4", "features.max_gb=0", "leave one out"]),
    (["run", *VIEWS, "features.max_gb=1e-6"], ["features.views=4", "features.max_gb=1e-06", "Give fewer views"]),
    (["run", *VIEWS, "training.frozen_norm=train"], ["features.views=4", "training.frozen_norm=train", "Leave features.views"]),
    (["train", *VIEWS, "strategy=full"], ["features.views=4", "strategy=full", "Leave features.views out"]),
    (
        ["run", "training.scheduler=one_cycle", "training.warmup_epochs=2"],
        ["training.warmup_epochs=2", "training.scheduler=one_cycle", "give training.warmup_epochs=0"],
    ),
    (
        ["train", "training.cosine_epochs=auto", "training.epochs=5", "training.warmup_epochs=5"],
        ["training.warmup_epochs=5", "less than training.epochs=5"],
    ),
    (["run", "training.drop_path=0.1"], ["training.drop_path", "glyphnet has no stochastic depth", "convnext_tiny"]),
    (["run", "test.training.drop_path=0.1"], ["test.training.drop_path", "glyphnet has no stochastic depth", "Leave them out"]),
    (["compare", "test.training.epochs=0"], ["test.training.epochs=0", "at least 1"]),
    (["run", "test.training.lr=1"], ["test.training.lr=1", "no such key"]),
    (["run", "fitness.metric=f1"], ["fitness.metric=f1", "acc, acc+std, loss"]),
    (["run", "evolution.warm_start=nowhere"], ["evolution.warm_start=nowhere", "a list of names"]),
    (["run", "evolution.warm_start=[nowhere]"], ["evolution.warm_start=nowhere: no such file or folder", "best_schedule.yaml"]),
    (["run", "evolution.warm_start=[images]"], ["evolution.warm_start=images: holds no search", "give the folder of a search"]),
    (["compare", "evolution.warm_start=[wrong.csv]"], ["evolution.warm_start=wrong.csv", "does not say of which network"]),
    (["run", "evolution.warm_start=[file]"], ["evolution.warm_start=file", "is not a schedule file"]),
    (["resume"], ["DIR", "biotune resume --help"]),
    (["resume", "nowhere"], ["nowhere", "no such folder"]),
    (["resume", "images"], ["images", "holds no run", ".hydra/config.yaml"]),
    (["resume", "images", "--frob"], ["--frob", "biotune resume --help"]),
    (["report", "images"], ["images", "is no run's folder"]),
]


@pytest.fixture(scope="module")
def resnet18_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet18.pt"
    small = {name: value[:1].clone() for name, value in resnet18_state().items() if value.ndim}
    torch.save(small, path)
    return path


def resnet18_state() -> dict[str, torch.Tensor]:
    return build_network(BackboneConfig("torchvision", "resnet18", "none"), 2).module.state_dict()


@pytest.fixture(scope="module")
def shared_inputs(tmp_path_factory: pytest.TempPathFactory, resnet18_weights: Path) -> Path:
    """Everything that the table's commands refer to; every test proves that it has changed nothing."""
    here = tmp_path_factory.mktemp("inputs")
    (here / "file").write_text("neither weights nor a schedule nor a folder\n")
    (here / "resnet18.pt").symlink_to(resnet18_weights)
    folder_tree(here / "one_class", {"cat": 3})
    folder_tree(here / "empty_class", {"cat": 3, "dog": 0})
    folder_tree(here / "small_class", {"cat": 5, "dog": 2})
    for name in ("images", "text", "truncated", "zero"):
        folder_tree(here / name, {"cat": 5, "dog": 5})
    (here / "text/cat/bad.jpg").write_text("no image")
    (here / "zero/cat/bad.jpg").write_bytes(b"")
    whole = write_image(here / "truncated/cat/bad.jpg", 9, (64, 64)).read_bytes()
    (here / "truncated/cat/bad.jpg").write_bytes(whole[: len(whole) // 2])
    block = "{modules: [conv1, bn1], frozen: false, importance: 0.5, lr_weight: 1.0, lr: 0.001}"
    (here / "other.yaml").write_text(f"format: 1\nthreshold: 0.2\nblocks:\n  stem: {block}\n")
    glyphnet = build_network(BackboneConfig("biotune", "glyphnet"), 10)
    (here / "whole.yaml").write_text(save_text(fixed_schedule("full", glyphnet.blocks), 0.001, {"backbone": "glyphnet"}))
    (here / "wrong.csv").write_text("stem,layer1,layer2,layer3,frob,head,threshold\n" + "0.5," * 6 + "0.5\n")
    (here / "outside.csv").write_text("stem,layer1,layer2,layer3,layer4,head,threshold\n" + "0.5," * 5 + "1.5,0.1\n")
    return here


@pytest.fixture
def inputs(here: Path, shared_inputs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in the folder of inputs."""
    monkeypatch.chdir(shared_inputs)
    return shared_inputs


@pytest.mark.parametrize(("arguments", "words"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD])
def test_bad_input_is_refused_in_a_line_and_leaves_nothing(
    biotune: Callable[..., Any], inputs: Path, snapshot: Callable[[Path], Any], arguments: list[str], words: list[str]
) -> None:
    before = snapshot(inputs)
    said = biotune(*arguments)
    assert said.status == 2, said.err
    assert said.err.startswith("biotune: ")
    assert len(said.err.splitlines()) == 1, said.err
    assert "Traceback" not in said.err
    assert said.out == ""
    for word in words:
        assert word in said.err
    assert snapshot(inputs) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
def test_a_cuda_device_that_is_not_there_is_refused(biotune: Callable[..., Any], here: Path) -> None:
    said = biotune("run", "device=cuda")
    assert (said.status, said.err.count("\n")) == (2, 1)
    assert "device=cuda: there is no CUDA device" in said.err
    assert "device=cpu" in said.err


def test_everything_that_is_wrong_is_said_at_once_a_line_each(biotune: Callable[..., Any]) -> None:
    said = biotune("run", "seeds=1", "dataset=CUB", "training.lr=fast")
    assert said.status == 2
    assert [line.split(":")[1].strip() for line in said.err.splitlines()] == ["seeds=1", "dataset=CUB", "training.lr=fast"]
    said = biotune("run", "training.epochs=0", "evolution.folds=0")
    assert [line.split(":")[1].strip() for line in said.err.splitlines()] == ["training.epochs=0", "evolution.folds=0"]


def test_one_bad_job_of_many_is_found_before_the_first_begins(biotune: Callable[..., Any], here: Path) -> None:
    said = biotune("run", "-m", *FEW, "seed=1,2", "evolution.elites=1,4")
    assert said.status == 2
    assert "evolution.elites=4" in said.err
    assert list(here.iterdir()) == []


def test_the_documentation_says_how_many_there_are() -> None:
    page = (Path(__file__).parents[3] / "docs" / "evidence" / "robustness.md").read_text(encoding="utf-8")
    assert f"| {len(BAD)} wrong command lines (`tests/cli/launch/test_bad_input.py`)" in page
