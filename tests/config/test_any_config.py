"""Configs by the thousand: what keeps every bound is read back as it was, what breaks one is refused by its key."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from biotune.config.checks import check
from biotune.config.key import Key, keys_of
from biotune.config.schema import RunConfig, value_at
from biotune.errors import ConfigError

KEYS = {key.path: key for key in keys_of(RunConfig)}
NUMBERS = [key for key in KEYS.values() if key.type in (int, float) and not key.metadata["choices"]]
BOUNDED = [key for key in NUMBERS if {"ge", "gt", "le", "lt"} & set(key.metadata)]


def default() -> RunConfig:
    config = RunConfig()
    config.dataset.loader = config.dataset.name = "digits"
    config.backbone.library, config.backbone.name = "biotune", "glyphnet"
    config.evolution.algorithm, config.executor.name = "biotune", "in_process"
    return config


def put(config: RunConfig, path: str, value: Any) -> None:
    *sections, name = path.split(".")
    setattr(value_at(config, ".".join(sections)) if sections else config, name, value)


def within(key: Key) -> st.SearchStrategy[Any]:
    low = key.metadata.get("ge", key.metadata.get("gt", -1e6))
    high = key.metadata.get("le", key.metadata.get("lt", 1e6))
    if key.type is int:
        return st.integers(int(low) + ("gt" in key.metadata), int(min(high, 2**63 - 1)) - ("lt" in key.metadata))
    return st.floats(
        low, high, exclude_min="gt" in key.metadata, exclude_max="lt" in key.metadata, allow_nan=False, allow_infinity=False
    )


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_values_within_their_bounds_survive_yaml_and_keep_their_type(data: st.DataObject) -> None:
    config = default()
    chosen = data.draw(st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=6, unique_by=lambda key: key.path))
    for key in chosen:
        put(config, key.path, data.draw(within(key), label=key.path))
    text = OmegaConf.to_yaml(OmegaConf.structured(config))
    again: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(RunConfig), OmegaConf.create(text)))
    assert again == config
    try:
        check(again)
    except ConfigError as error:  # keys that must agree with one another may not; no bound is broken
        assert not any(f"{key.path}=" in line and "must be at" in line for key in chosen for line in str(error).splitlines())


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_value_out_of_its_bounds_is_refused_by_its_key(data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(BOUNDED))
    low, high = key.metadata.get("ge", key.metadata.get("gt")), key.metadata.get("le", key.metadata.get("lt"))
    beyond = []
    if low is not None:
        beyond.append(st.integers(-(10**6), math.ceil(low) - 1))
        if key.type is float:
            beyond.append(st.floats(max_value=low, exclude_max="gt" not in key.metadata, allow_nan=False, allow_infinity=False))
    if high is not None and high < 2**63 - 1:
        beyond.append(st.integers(math.floor(high) + 1, 10**12))
    config = default()
    value = data.draw(st.one_of(beyond), label=key.path)
    put(config, key.path, float(value) if key.type is float else value)
    with pytest.raises(ConfigError) as caught:
        check(config)
    assert str(caught.value).startswith(f"{key.path}=")


@given(st.sampled_from([key for key in NUMBERS if key.type is float]), st.sampled_from([math.nan, math.inf, -math.inf]))
def test_what_is_no_finite_number_is_refused(key: Key, value: float) -> None:
    config = default()
    put(config, key.path, value)
    with pytest.raises(ConfigError, match="must be a finite number"):
        check(config)
