"""A trial's method as plain values."""

from biotune.schedule.block import Block
from biotune.schedule.plan import Method
from biotune.schedule.schedule import Schedule
from biotune.trial import Trial

LR = 3e-3  # the base learning rate of trials

SCHEDULE = Schedule((Block("head", ("head",)),), (1.0,))


def test_trials_of_other_methods_settings_or_rates_are_other_trainings() -> None:
    trials = [
        Trial(SCHEDULE, None, 1, 2, LR),
        Trial(SCHEDULE, None, 1, 2, lr=0.01),
        Trial(SCHEDULE, None, 1, 2, LR, method=Method("l2_sp", (("alpha", 0.1), ("beta", 0.01)))),
        Trial(SCHEDULE, None, 1, 2, LR, method=Method("l2_sp", (("alpha", 0.2), ("beta", 0.01)))),
        Trial(SCHEDULE, None, 1, 2, LR, method=Method("l1_sp", (("alpha", 0.1), ("beta", 0.01)))),
    ]
    assert len({trial.key for trial in trials}) == len(trials)


def test_a_setting_is_found_by_its_name() -> None:
    assert Method("l2_sp", (("alpha", 0.1), ("beta", 0.5)))["beta"] == 0.5
