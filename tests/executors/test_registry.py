"""The executors by name: what is said where one is not installed."""

from __future__ import annotations

import pytest

from biotune.errors import ConfigError
from biotune.executors.registry import EXECUTORS, check_installed


def test_ray_is_an_extra_and_only_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("biotune.executors.ray_pool.find_spec", lambda package: None)
    with pytest.raises(ConfigError, match=r"^executor=ray: needs the extra 'ray': pip install 'biotune\[ray\]'\.$"):
        check_installed("ray")
    for name in EXECUTORS.keys() - {"ray"}:
        check_installed(name)
    monkeypatch.setattr("biotune.executors.ray_pool.find_spec", lambda package: package)
    check_installed("ray")
