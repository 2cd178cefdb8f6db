"""Tests of decoding, canonical keys and schedule files."""

import dataclasses
import json
import math
import pickle
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from biotune.errors import ScheduleError
from biotune.schedule.block import Block
from biotune.schedule.genotype import decode, lr_weight
from biotune.schedule.schedule import Schedule
from biotune.schedule.schedule_file import load_schedule, save_text

VECTORS = json.loads((Path(__file__).parents[1] / "golden" / "vectors.json").read_text(encoding="utf-8"))
GOOD = """\
format: 1
backbone: resnet18
base_lr: 0.001
threshold: 0.4
blocks:
  stem: {modules: [conv1, bn1], frozen: true, importance: 0.3, lr_weight: 0.0, lr: 0.0}
  head: {modules: [fc], frozen: false, importance: 0.75, lr_weight: 2.5, lr: 0.0025}
"""


def make_blocks(count: int) -> list[Block]:
    return [Block(f"b{index}", (f"module{index}",)) for index in range(count)]


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "found.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


@pytest.mark.parametrize("vector", VECTORS["decode"], ids=lambda vector: str(vector["genotype"]))
def test_decoding_gives_the_independently_computed_weights(vector: dict[str, Any]) -> None:
    schedule = decode(vector["genotype"], make_blocks(6))
    assert schedule.lr_weights == pytest.approx(vector["lr_weights"], rel=1e-9)
    assert schedule.selected == tuple(weight > 0 for weight in vector["lr_weights"])
    assert schedule.is_empty == (sum(vector["lr_weights"]) == 0)


@pytest.mark.parametrize("vector", VECTORS["same_schedule"], ids=["frozen genes", "a trained gene", "a block thaws"])
def test_key_is_equal_exactly_where_the_same_blocks_learn_at_the_same_rates(vector: dict[str, Any]) -> None:
    one, other = (decode(vector[name], make_blocks(6)) for name in "ab")
    assert (one.key == other.key) is vector["same_schedule"]
    assert (one == other) is vector["same_schedule"]
    if vector["same_schedule"]:
        assert hash(one) == hash(other)


def test_key_tells_apart_weights_that_differ_in_the_last_bit_only() -> None:
    blocks = tuple(make_blocks(1))
    assert Schedule(blocks, (2.0,)).key != Schedule(blocks, (math.nextafter(2.0, 3.0),)).key


def test_key_tells_which_block_is_the_trained_one() -> None:
    blocks = tuple(make_blocks(3))
    keys = {Schedule(blocks, weights).key for weights in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))}
    assert len(keys) == 3


def test_importance_equal_to_the_threshold_freezes() -> None:
    assert decode([0.5, 0.6, 0.5], make_blocks(2)).selected == (False, True)


@pytest.mark.parametrize(("importance", "weight"), [(0.0, 0.1), (0.25, 10**-0.5), (0.5, 1.0), (0.75, 10**0.5), (1.0, 10.0)])
def test_weight_runs_from_a_tenth_to_ten(importance: float, weight: float) -> None:
    assert lr_weight(importance) == pytest.approx(weight, rel=1e-12)


THREE = (1.0, 0.0, 2.0, 0.5)  # of four blocks three are trained


@pytest.mark.parametrize(
    ("unfreezing", "epochs", "trained"),
    [
        ("together", 9, ["0.23", "0.23"]),
        ("last_to_first", 9, ["3", "23", "0.23", "0.23"]),
        ("first_to_last", 9, ["0", "0.2", "0.23", "0.23"]),
        ("last_to_first", 2, ["23", "0.23"]),  # too few epochs for one block each
        ("last_to_first", 1, ["0.23"]),
    ],
)
def test_blocks_join_one_by_one_in_the_order_that_is_asked_for(unfreezing: str, epochs: int, trained: list[str]) -> None:
    schedule = Schedule(tuple(make_blocks(4)), THREE, unfreezing=unfreezing)
    expected = [tuple(str(index) in text.replace(".", "") for index in range(4)) for text in trained]
    assert [schedule.trained_in(epoch, epochs) for epoch in range(len(trained))] == expected
    assert schedule.complete_from(epochs) == expected.index((True, False, True, True))


@pytest.mark.parametrize(
    ("count", "epochs", "by_epoch"), [(3, 30, [1, 2, 3, 3]), (6, 3, [2, 4, 6]), (5, 2, [3, 5]), (4, 1, [4]), (2, 2, [1, 2])]
)
def test_all_blocks_have_joined_in_the_last_epoch(count: int, epochs: int, by_epoch: list[int]) -> None:
    schedule = Schedule(tuple(make_blocks(count)), (1.0,) * count, unfreezing="last_to_first")
    assert [sum(schedule.trained_in(epoch, epochs)) for epoch in range(len(by_epoch))] == by_epoch


def test_the_order_is_part_of_the_key_where_there_is_one() -> None:
    blocks = tuple(make_blocks(4))
    keys = {Schedule(blocks, THREE, unfreezing=order).key for order in ("together", "last_to_first", "first_to_last")}
    assert len(keys) == 3
    one = [Schedule(blocks, (0.0, 3.0, 0.0, 0.0), unfreezing=order) for order in ("together", "last_to_first")]
    assert one[0] == one[1] and one[0].key == one[1].key
    empty = Schedule(blocks, (0.0,) * 4, unfreezing="last_to_first")
    assert empty.complete_from(5) == 0 and not any(empty.trained_in(0, 5))


def test_an_unknown_order_is_refused() -> None:
    with pytest.raises(ScheduleError, match=r"unfreezing is 'upwards': must be one of together, last_to_first, first_to_last"):
        Schedule(tuple(make_blocks(2)), (1.0, 1.0), unfreezing="upwards")


def test_the_start_of_the_head_is_part_of_the_key_where_it_is_the_probe() -> None:
    blocks = tuple(make_blocks(4))
    fresh = Schedule(blocks, THREE, unfreezing="last_to_first")
    probe = dataclasses.replace(fresh, head_start="probe")
    assert fresh != probe and probe.key == fresh.key + " probe" and fresh.head_start == "fresh"
    assert Schedule(blocks, THREE, head_start="probe").key == Schedule(blocks, THREE).key + " probe"
    assert (fresh.remark, probe.remark) == ("", "; the head starts from the linear probe")
    nothing = [Schedule(blocks, (0.0,) * 4, head_start=start) for start in ("fresh", "probe")]  # nothing starts
    assert nothing[0] == nothing[1] and nothing[0].key == nothing[1].key


def test_an_unknown_start_of_the_head_is_refused() -> None:
    with pytest.raises(ScheduleError, match=r"head_start is 'evolved': must be one of fresh, probe"):
        Schedule(tuple(make_blocks(2)), (1.0, 1.0), head_start="evolved")


@pytest.mark.parametrize("start", ["fresh", "probe"])
def test_the_start_of_the_head_survives_the_way_through_a_file(tmp_path: Path, start: str) -> None:
    schedule = Schedule(tuple(make_blocks(4)), THREE, head_start=start)
    text = save_text(schedule, 1e-3, {})
    assert load_schedule(write(tmp_path, text)) == schedule
    assert load_schedule(write(tmp_path, text)).header == {"base_lr": 1e-3}
    assert ("head_start: probe\n" in text) == ("head_start" in text) == (start == "probe")


@pytest.mark.parametrize("unfreezing", ["together", "last_to_first", "first_to_last"])
def test_the_order_survives_the_way_through_a_file(tmp_path: Path, unfreezing: str) -> None:
    schedule = Schedule(tuple(make_blocks(4)), THREE, unfreezing=unfreezing)
    text = save_text(schedule, 1e-3, {})
    assert load_schedule(write(tmp_path, text)) == schedule
    assert ("unfreezing" in text) == (unfreezing != "together")  # as files were before there was an order


def test_schedule_cannot_be_changed() -> None:
    schedule = decode([0.9, 0.1], make_blocks(1))
    for name in ("blocks", "lr_weights", "threshold"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(schedule, name, ())
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.blocks[0].name = "other"  # type: ignore[misc]


def test_schedule_survives_the_way_to_a_worker() -> None:
    schedule = decode([0.9, 0.1, 0.3], make_blocks(2))
    arrived = pickle.loads(pickle.dumps(schedule))
    assert (arrived, arrived.key, arrived.importances) == (schedule, schedule.key, schedule.importances)


def test_header_and_genes_take_no_part_in_comparison() -> None:
    blocks = tuple(make_blocks(1))
    assert Schedule(blocks, (1.0,), (0.5,), 0.1, {"backbone": "a"}) == Schedule(blocks, (1.0,))


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf])
def test_schedule_refuses_a_weight_that_is_no_rate(weight: float) -> None:
    with pytest.raises(ScheduleError, match="lr_weight of block b0"):
        Schedule(tuple(make_blocks(1)), (weight,))


def test_schedule_refuses_weights_that_do_not_fit_the_blocks() -> None:
    with pytest.raises(ScheduleError, match="2 blocks"):
        Schedule(tuple(make_blocks(2)), (1.0,))


@pytest.mark.parametrize(
    ("genotype", "complaint"),
    [
        ([0.5, 0.5], "3 genes"),
        ([0.5] * 4, "3 genes"),
        ([0.5, 1.01, 0.5], "gene b1 is 1.01"),
        ([-0.01, 0.5, 0.5], "gene b0"),
        ([0.5, 0.5, math.nan], "gene threshold"),
        ([0.5, 0.5, math.inf], "gene threshold"),
    ],
)
def test_decoding_refuses_what_is_no_genotype_of_the_blocks(genotype: list[float], complaint: str) -> None:
    with pytest.raises(ScheduleError, match=complaint):
        decode(genotype, make_blocks(2))


def test_apply_without_any_base_rate_says_so() -> None:
    with pytest.raises(ScheduleError, match="base_lr"):
        decode([0.9, 0.1], make_blocks(1)).apply(None)  # type: ignore[arg-type]


def test_good_file_is_read_as_it_stands(tmp_path: Path) -> None:
    schedule = load_schedule(write(tmp_path, GOOD))
    assert schedule.blocks == (Block("stem", ("conv1", "bn1")), Block("head", ("fc",)))
    assert schedule.lr_weights == (0.0, 2.5)
    assert schedule.importances == (0.3, 0.75)
    assert schedule.threshold == 0.4
    assert schedule.header == {"backbone": "resnet18", "base_lr": 0.001}


def test_saved_file_names_the_rate_of_every_block(tmp_path: Path) -> None:
    text = save_text(decode([0.75, 0.25, 0.5], make_blocks(2)), 0.01, {"backbone": "x", "dataset": "digits"})
    document = yaml.safe_load(text)
    assert document["blocks"]["b0"]["lr"] == pytest.approx(0.01 * 10**0.5)
    assert document["blocks"]["b1"] == {
        "modules": ["module1"],
        "frozen": True,
        "importance": 0.25,
        "lr_weight": 0.0,
        "lr": 0.0,
    }
    assert (document["format"], document["backbone"], document["dataset"], document["base_lr"]) == (1, "x", "digits", 0.01)


def test_schedule_made_without_a_genotype_round_trips(tmp_path: Path) -> None:
    schedule = Schedule(tuple(make_blocks(2)), (1.0, 0.0))
    read = load_schedule(write(tmp_path, save_text(schedule, 1e-3, {})))
    assert (read, read.importances, read.threshold) == (schedule, None, None)


NAMES = st.one_of(
    st.sampled_from(["no", "1", "a: b", "null", "~", "- x", "#", "'", '"', "a\nb", "\x85", "2020-01-01", "<<", "=", "1e-5"]),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    st.integers(100, 200).map(lambda length: "x" * length),
)


@settings(max_examples=60, deadline=None)
@given(
    names=st.lists(NAMES, min_size=1, max_size=4, unique=True),
    data=st.data(),
    base_lr=st.floats(1e-12, 100, exclude_min=True),
)
def test_file_round_trips_to_the_bit_whatever_the_names(names: list[str], data: st.DataObject, base_lr: float) -> None:
    genes = data.draw(st.lists(st.floats(0, 1), min_size=len(names) + 1, max_size=len(names) + 1))
    schedule = decode(genes, [Block(name, (name, "m")) for name in names])
    with tempfile.TemporaryDirectory() as folder:
        read = load_schedule(write(Path(folder), save_text(schedule, base_lr, {"weights": names[0]})))
    assert read == schedule
    assert read.key == schedule.key
    assert read.importances is not None and read.threshold is not None
    assert [gene.hex() for gene in (*read.importances, read.threshold)] == [gene.hex() for gene in genes]
    assert dict(read.header) == {"weights": names[0], "base_lr": base_lr}


@pytest.mark.parametrize("spelling", ["1e-05", "1.0e-05", "0.00001", "1E-5"])
def test_small_rates_are_numbers_in_every_spelling(tmp_path: Path, spelling: str) -> None:
    text = GOOD.replace("base_lr: 0.001", f"base_lr: {spelling}").replace(
        "lr_weight: 2.5, lr: 0.0025", f"lr_weight: {spelling}"
    )
    schedule = load_schedule(write(tmp_path, text.replace("threshold: 0.4", f"threshold: {spelling}")))
    assert (schedule.header["base_lr"], schedule.lr_weights[1], schedule.threshold) == (1e-5, 1e-5, 1e-5)


HEAD = "head: {modules: [fc], frozen: false, importance: 0.75, lr_weight: 2.5, lr: 0.0025}"
GIANT = "1" + "0" * 400
REFUSED = {
    "no YAML": ("{", "not a YAML file"),
    "empty": ("", "not a schedule file"),
    "a list": ("[1, 2]", "not a schedule file"),
    "a text": ("hello", "not a schedule file"),
    "without format": (GOOD.replace("format: 1\n", ""), "'format'"),
    "format 2": (GOOD.replace("format: 1", "format: 2"), "format 2"),
    "format text": (GOOD.replace("format: 1", "format: one"), "format 'one'"),
    "unknown key": (GOOD + "optimiser: adam\n", "unknown key 'optimiser'"),
    "unknown key of a block": (GOOD.replace("importance: 0.75", "importence: 0.75"), "unknown key 'importence'"),
    "frozen with a rate": (GOOD.replace("frozen: false", "frozen: true"), "head: frozen=true contradicts lr_weight=2.5"),
    "trained at rate 0": (GOOD.replace("frozen: true", "frozen: false"), "stem: frozen=false contradicts lr_weight=0"),
    "frozen a text": (GOOD.replace("frozen: false", "frozen: maybe"), "head: needs 'frozen'"),
    "frozen missing": (GOOD.replace("frozen: false, ", ""), "head: needs 'frozen'"),
    "weight missing": (GOOD.replace("lr_weight: 2.5, ", ""), "head: lr_weight"),
    "weight NaN": (GOOD.replace("lr_weight: 2.5", "lr_weight: .nan"), "head: lr_weight is nan"),
    "weight infinite": (GOOD.replace("lr_weight: 2.5", "lr_weight: .inf"), "head: lr_weight is inf"),
    "weight negative": (GOOD.replace("lr_weight: 2.5", "lr_weight: -2.5"), "head is -2.5"),
    "weight giant": (GOOD.replace("lr_weight: 2.5", f"lr_weight: {GIANT}"), "head: lr_weight is a giant integer"),
    "weight true": (GOOD.replace("lr_weight: 2.5", "lr_weight: true"), "head: lr_weight is True"),
    "importance a list": (GOOD.replace("importance: 0.75", "importance: [1]"), "head: importance is a list"),
    "importance giant": (GOOD.replace("importance: 0.75", f"importance: {GIANT}"), "head: importance"),
    "base rate giant": (GOOD.replace("base_lr: 0.001", f"base_lr: {GIANT}"), "base_lr is a giant integer"),
    "base rate hexadecimal giant": (GOOD.replace("base_lr: 0.001", "base_lr: 0x" + "f" * 9000), "base_lr is a giant"),
    "base rate of 5000 digits": (GOOD.replace("base_lr: 0.001", "base_lr: 1" + "0" * 5000), "not a YAML file"),
    "base rate 0": (GOOD.replace("base_lr: 0.001", "base_lr: 0"), "base_lr is 0"),
    "base rate a text": (GOOD.replace("base_lr: 0.001", "base_lr: fast"), "base_lr is 'fast'"),
    "threshold NaN": (GOOD.replace("threshold: 0.4", "threshold: .nan"), "threshold is nan"),
    "threshold giant": (GOOD.replace("threshold: 0.4", f"threshold: {GIANT}"), "threshold is a giant"),
    "giant key": (GOOD + "? 0x" + "f" * 9000 + "\n: 1\n", "unknown key a giant integer"),
    "order unknown": (GOOD.replace("threshold: 0.4", "unfreezing: upwards"), "unfreezing is 'upwards': must be one of"),
    "start unknown": (GOOD.replace("threshold: 0.4", "head_start: evolved"), "head_start is 'evolved': must be one of"),
    "order a list": (GOOD.replace("threshold: 0.4", "unfreezing: [together]"), "unfreezing is a list"),
    "blocks missing": (GOOD.split("blocks:")[0], "no 'blocks'"),
    "blocks empty": (GOOD.split("blocks:")[0] + "blocks: {}\n", "no 'blocks'"),
    "blocks a list": (GOOD.split("blocks:")[0] + "blocks: [stem]\n", "no 'blocks'"),
    "block a number": (GOOD.replace(HEAD, "head: 3"), "block head: 'modules'"),
    "block null": (GOOD.replace(HEAD, "head:"), "block head: 'modules'"),
    "modules a text": (GOOD.replace("modules: [fc]", "modules: fc"), "block head: 'modules'"),
    "modules empty": (GOOD.replace("modules: [fc]", "modules: []"), "block head: 'modules'"),
    "modules numbers": (GOOD.replace("modules: [fc]", "modules: [1]"), "block head: 'modules'"),
    "block name a number": (GOOD.replace("head:", "7:"), "block 7: its name must be a text"),
    "block name a truth value": (GOOD.replace("head:", "no:"), "block False: its name must be a text"),
    "binary": (bytes(range(256)), "not a YAML file"),
    "NUL bytes": (b"\0" * 64, "not a YAML file"),
    "UTF-16": (GOOD.encode("utf-16"), "not a YAML file"),
    "deep lists": ("[" * 3_000, "not a YAML file"),
    "deep mappings": ("a: " + "{a: " * 2_000, "not a YAML file"),
    "foreign tag": ("format: !!python/object/apply:os.getcwd []", "not a YAML file"),
    "tag without a value": ("format: !!int ''", "not a YAML file"),
    "impossible truth value": ("format: !!bool perhaps", "not a YAML file"),
    "impossible date": ("format: 2020-13-45", "not a YAML file"),
    "block of itself": ("format: 1\nblocks: &a {x: *a}", "block x: 'modules'"),
}


@pytest.mark.parametrize(("content", "complaint"), REFUSED.values(), ids=REFUSED.keys())
def test_refusal_names_the_file_and_what_is_wrong(tmp_path: Path, content: str | bytes, complaint: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(ScheduleError) as refusal:
        load_schedule(path)
    message = str(refusal.value)
    assert message.startswith(f"schedule={path}: ")
    assert complaint in message
    assert "\n" not in message
    assert len(message) < 1000


def test_text_of_endless_aliases_is_refused_in_a_short_line(tmp_path: Path) -> None:
    laughs = "".join(f"  - &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 30))
    path = write(tmp_path, f"format: 1\nthreshold:\n  - &l0 [ha]\n{laughs}{GOOD[GOOD.index('blocks:') :]}")
    with pytest.raises(ScheduleError, match="threshold is a list"):
        load_schedule(path)


def test_missing_file_and_folder_are_refused_by_name(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ScheduleError, match="cannot be read") as refusal:
            load_schedule(path)
        assert str(path) in str(refusal.value)


FRAGMENTS = st.sampled_from(
    ["format: 1\n", "blocks:\n", "  a: ", "{modules: [x], ", "frozen: true, ", "lr_weight: 0", "}", "]", "\n", "!!", "int ",
     "&a ", "*a", "<<: ", "? ", "- ", "'", '"', "|", "0x", "1e5", ".nan", "2020-01-", "\t", "%YAML 9\n", "---\n", "!!set ",
     "base_lr: ", "threshold: ", "-1", GIANT]
)  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.lists(FRAGMENTS, max_size=12).map(lambda parts: "".join(parts).encode()),
        st.tuples(st.integers(0, len(GOOD)), st.integers(0, 20), FRAGMENTS).map(
            lambda cut: (GOOD[: cut[0]] + cut[2] + GOOD[cut[0] + cut[1] :]).encode()
        ),
    )
)
@example(b"format: !!timestamp a")
@example(b"<<: 1")
def test_any_file_is_a_schedule_or_a_schedule_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), content)
        try:
            schedule = load_schedule(path)
        except ScheduleError as error:
            assert str(path) in str(error)
        else:
            assert all(math.isfinite(weight) and weight >= 0 for weight in schedule.lr_weights)


def test_a_rate_edited_without_its_weight_is_refused(tmp_path):
    file = tmp_path / "schedule.yaml"
    block = "{modules: [m], frozen: false, importance: 0.5, lr_weight: 1.0, lr: 0.002}"
    file.write_text(f"format: 1\nbase_lr: 0.001\nblocks:\n  stem: {block}\n")
    with pytest.raises(
        ScheduleError, match=r"block stem: lr=0.002 contradicts lr_weight=1.0 times base_lr=0.001; edit lr_weight"
    ):
        load_schedule(file)
    file.write_text(f"format: 1\nbase_lr: 0.002\nblocks:\n  stem: {block}\n")
    assert load_schedule(file).lr_weights == (1.0,)
