"""`biotune run` and a search that is asked and told are one: the same trials on the same folds, stopped at the same epochs.

The scores of a tiny run's trials, from its journal, are told to a search with the run's settings and seed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import biotune
from biotune.cli import main
from biotune.store.files import CONFIG, JOURNAL

SEARCH = ["evolution.population_size=12", "evolution.generations=4", "evolution.elites=8", "evolution.folds=3", "seed=4"]
TRAINING = ["dataset.max_classes=4", "dataset.max_per_class=12", "dataset.max_eval_per_class=12", "training.epochs=8"]
AFTER = ["confirm.baselines=[]", "confirm.splits=1", "confirm.seeds=[2]", "confirm.retrain=winner", "test.seeds=[3]"]
FIXED = ["executor=in_process", "training.patience=8", "training.precision=fp32", *TRAINING, *AFTER]


@pytest.mark.parametrize("mating", ["brood", "asynchronous"])
def test_it_asks_for_the_trials_of_the_run(mating: str, tmp_path: Path) -> None:
    assert (
        main(["run", f"hydra.run.dir={tmp_path}", f"evolution.mating={mating}", "fitness.prune=predicted", *SEARCH, *FIXED])
        == 0
    )
    config = yaml.safe_load((tmp_path / CONFIG).read_text())
    records = [json.loads(line) for line in (tmp_path / JOURNAL).read_text().splitlines()]
    known = [record for record in records if record["kind"] == "trial" and "/seed684/" in record["key"]]
    settings: dict[str, Any] = {key: value for key, value in config["evolution"].items() if key not in ("resplit", "max_hours")}
    search = biotune.Search(
        biotune.load_schedule(tmp_path / "best_schedule.yaml").blocks,
        epochs=config["training"]["epochs"],
        seed=config["seed"],
        prune=config["fitness"]["prune"],
        head_start=config["training"]["head_start"],
        **settings,
    )
    asked, stopped = [], 0
    while not search.over:
        trial = search.ask()
        record = known[len(asked)]
        asked.append(f"{trial.schedule.key}@fold{trial.fold}")
        assert asked[-1] == record["key"].partition("/")[0]
        for epoch, score in enumerate(record["curve"]):
            trial.report(epoch, score)
            # patience cannot end a trial here: whatever ended before the last epoch was given up
            assert trial.should_stop() == (record["status"] == "pruned" and epoch + 1 == len(record["curve"]))
        stopped += record["status"] == "pruned"
        search.tell(trial, max(record["curve"]))
    assert len(asked) == len(known) == json.loads((tmp_path / "result.json").read_text())["search"]["trainings"]
    assert len(asked) > 12 + 10 and stopped
    kinds = {(one.partition("@")[0].count("last_to_first"), one.count("probe"), one[-1]) for one in asked}
    assert len(kinds) > 6  # orders, starts of the head and folds all take part
