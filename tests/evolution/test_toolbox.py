"""Tests of the toolbox: what each switch removes, and that it leaves the rest alone."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.random import Generator

from biotune.config.search import EvolutionConfig
from biotune.evolution.individual import Genes, Individual, Manner
from biotune.evolution.toolbox import breed, build_toolbox

VECTORS = json.loads((Path(__file__).parents[1] / "golden" / "vectors.json").read_text(encoding="utf-8"))[
    "mutation_probability"
]
SWITCHES = ("crossover", "momentum", "mutation", "adoption")


def individual(genes: list[float], momentum: list[float], extinction: float) -> Individual:
    return Individual(np.array(genes), np.array(momentum), 0, "initial", extinction)


FIRST = individual([0.2, 0.4, 0.6], [0.1, -0.1, 0.2], 1.0)
SECOND = individual([0.8, 0.5, 0.3], [0.3, 0.1, -0.2], 0.0)
MEAN_EXTINCTION = 0.5
PROTOTYPE = individual([0.9, 0.9, 0.1], [0.5, 0.5, 0.5], 0.0)


def bred(seed: int = 7, **switches: bool) -> tuple[Genes, Genes]:
    settings = EvolutionConfig(algorithm="biotune", **switches)
    child = breed(build_toolbox(settings, np.random.default_rng(seed), 3), FIRST, SECOND, PROTOTYPE)
    return child.genes, child.momentum


def only(name: str) -> dict[str, bool]:
    return {switch: switch == name for switch in SWITCHES}


def test_child_without_any_operator_is_its_first_parent_at_rest() -> None:
    genes, momentum = bred(crossover=False, momentum=False, mutation=False, adoption=False)
    assert genes.tolist() == [0.2, 0.4, 0.6]
    assert momentum.tolist() == [0.0, 0.0, 0.0]


def test_child_without_any_operator_is_no_alias_of_its_parent() -> None:
    genes, _ = bred(crossover=False, momentum=False, mutation=False, adoption=False)
    assert not np.shares_memory(genes, FIRST.genes)


def many(count: int = 4000, **switches: bool) -> tuple[Genes, Genes]:
    """Genes and momentum of many children, (count, 3) each."""
    settings = EvolutionConfig(algorithm="biotune", **switches)
    toolbox = build_toolbox(settings, np.random.default_rng(7), 3)
    children = [breed(toolbox, FIRST, SECOND, PROTOTYPE) for _ in range(count)]
    return np.array([child.genes for child in children]), np.array([child.momentum for child in children])


def test_crossover_alone_puts_each_gene_anywhere_between_the_parents() -> None:
    genes, momentum = many(**only("crossover"))
    share = (genes - SECOND.genes) / (FIRST.genes - SECOND.genes)  # U of c = U∘p1 + (1 − U)∘p2
    assert share.min() >= -1e-12 and share.max() <= 1 + 1e-12
    assert np.quantile(share, [0.25, 0.5, 0.75], axis=0) == pytest.approx(
        np.repeat([[0.25], [0.5], [0.75]], 3, axis=1), abs=0.04
    )
    assert np.abs(np.corrcoef(share.T)[np.triu_indices(3, 1)]).max() < 0.06  # one U per gene
    assert not momentum.any()


def test_momentum_alone_carries_the_first_parent_along_both_momenta_and_is_handed_on() -> None:
    genes, momentum = many(**only("momentum"))
    moved, both = genes - FIRST.genes, FIRST.momentum + SECOND.momentum
    # x − p1 = t·(U∘v1 + U∘v2), all draws U[0, 1]: a quarter in the mean; and v_child = U∘v + (x − p1 − t·v) = U∘v: a quarter
    assert moved.mean(axis=0) == pytest.approx(both / 4, abs=0.01)
    assert momentum.mean(axis=0) == pytest.approx(both / 4, abs=0.01)
    assert (moved.min(axis=0) >= [-1e-12, -0.1, -0.2]).all()
    assert (moved.max(axis=0) <= [0.4, 0.1, 0.2]).all()


def test_parents_at_rest_hand_no_momentum_on() -> None:
    first, second = (individual(parent.genes.tolist(), [0.0] * 3, 1.0) for parent in (FIRST, SECOND))
    toolbox = build_toolbox(EvolutionConfig("biotune", **only("momentum")), np.random.default_rng(0), 3)
    child = breed(toolbox, first, second, PROTOTYPE)
    assert child.genes.tolist() == FIRST.genes.tolist()
    assert child.momentum.tolist() == [0.0] * 3


def test_mutation_alone_hits_as_often_and_as_far_as_the_mean_of_the_parents_factors_says() -> None:
    genes, momentum = many(**only("mutation"))
    (probability,) = (
        vector["probability"] for vector in VECTORS if (vector["extinction"], vector["genes"]) == (MEAN_EXTINCTION, 3)
    )
    steps = genes - FIRST.genes
    assert (steps != 0).mean(axis=0) == pytest.approx([probability] * 3, abs=0.02)
    assert np.abs(steps).max() <= MEAN_EXTINCTION
    assert (steps > 0).any(axis=0).all() and (steps < 0).any(axis=0).all()
    assert not momentum.any()


def test_adoption_alone_draws_the_first_parent_into_the_triangle_with_the_mean_and_the_prototype() -> None:
    genes, _ = many(**only("adoption"))
    mean = (FIRST.genes + SECOND.genes) / 2
    corners = np.stack([mean - FIRST.genes, PROTOTYPE.genes - FIRST.genes], axis=1)
    shares, residuals, *_ = np.linalg.lstsq(corners, (genes - FIRST.genes).T, rcond=None)
    assert residuals == pytest.approx(0.0, abs=1e-20)
    assert shares.min() >= -1e-12 and shares.sum(axis=0).max() <= 1 + 1e-12
    assert shares.mean(axis=1) == pytest.approx([0.25, 0.25], abs=0.015)  # r1·a and (1 − r1)·b


class Scripted:
    """A generator whose draws are written down beforehand."""

    def __init__(self, *draws: float | Sequence[float]) -> None:
        self.draws = list(draws)

    def random(self, size: int | None = None) -> Any:
        draw = self.draws.pop(0)
        assert np.shape(draw) == (() if size is None else (size,))
        return draw if size is None else np.array(draw)

    def uniform(self, low: float, high: float, size: int | None = None) -> Any:
        return low + (high - low) * self.random(size)


def test_all_operators_together_are_the_hand_calculated_child() -> None:
    first, second = individual([0.2, 0.6], [0.4, -0.2], 1.0), individual([0.8, 0.4], [0.2, 0.4], 0.5)
    rng = Scripted(
        [0.5, 0.25],  # c = (0.5, 0.45)
        [0.5, 1.0],  # of v1: (0.2, −0.2)
        [0.5, 0.25],  # of v2: (0.1, 0.1), so that v = (0.3, −0.1)
        0.5,  # t: x = (0.65, 0.4)
        [0.87, 0.88],  # ē = 0.75, probability (0.75 + 1) / 2 = 0.875: the first gene is hit
        [0.7, 0.0],  # U(−1, 1) = 0.4: x = (0.65 + 0.4 · 0.75, 0.4) = (0.95, 0.4)
        [0.5, 0.4, 0.2],  # r1·a = 0.2 towards (0.5, 0.5), (1 − r1)·b = 0.1 towards (0.9, 0.1): x = (0.855, 0.39)
        [0.5, 0.1],  # U∘v = (0.15, −0.01), and (0.855 − 0.65, 0.39 − 0.4) since the move
    )
    toolbox = build_toolbox(EvolutionConfig("biotune"), cast(Generator, rng), 2)
    child = breed(toolbox, first, second, individual([0.9, 0.1], [0.0, 0.0], 0.0))
    assert child.genes == pytest.approx([0.855, 0.39])
    assert child.momentum == pytest.approx([0.355, -0.02])
    assert rng.draws == []


@pytest.mark.parametrize("switch", SWITCHES)
def test_switching_one_operator_off_changes_the_child_but_not_to_its_first_parent(switch: str) -> None:
    genes, _ = bred(**{switch: False})
    assert genes.tolist() != bred()[0].tolist()
    assert genes.tolist() != FIRST.genes.tolist()


@pytest.mark.parametrize("switch", ["crossover", "mutation", "adoption"])
def test_momentum_stays_alive_when_another_operator_is_off(switch: str) -> None:
    assert np.abs(bred(**{switch: False})[1]).min() > 0


def test_child_stays_in_bounds_whatever_its_momentum() -> None:
    first = individual([0.9, 0.1, 0.5], [3.0, -3.0, 3.0], 0.0)
    for switches in ({}, {"mutation": False, "adoption": False}):
        toolbox = build_toolbox(EvolutionConfig(algorithm="biotune", **switches), np.random.default_rng(0), 3)
        for _ in range(50):
            genes = breed(toolbox, first, SECOND, PROTOTYPE).genes
            assert genes.min() >= 0.0 and genes.max() <= 1.0


def test_the_order_is_inherited_only_where_it_evolves_and_then_without_a_change_to_the_genes() -> None:
    still = build_toolbox(EvolutionConfig("biotune"), np.random.default_rng(7), 3)
    evolving = build_toolbox(EvolutionConfig("biotune", unfreezing="evolved"), np.random.default_rng(7), 3)
    second = replace(SECOND, manner=Manner("last_to_first"))
    one, other = (breed(toolbox, FIRST, second, PROTOTYPE) for toolbox in (still, evolving))
    assert one.genes.tolist() == other.genes.tolist()
    orders = [breed(evolving, FIRST, second, PROTOTYPE).manner.unfreezing for _ in range(100)]
    assert {breed(still, FIRST, second, PROTOTYPE).manner.unfreezing for _ in range(100)} == {"together"}
    assert 30 < orders.count("last_to_first") < 70


def test_breeding_leaves_the_parents_alone() -> None:
    before = [(parent.genes.copy(), parent.momentum.copy()) for parent in (FIRST, SECOND, PROTOTYPE)]
    for seed in range(10):
        bred(seed)
    for parent, (genes, momentum) in zip((FIRST, SECOND, PROTOTYPE), before, strict=True):
        assert parent.genes.tolist() == genes.tolist()
        assert parent.momentum.tolist() == momentum.tolist()


def test_probes_reach_as_far_as_the_radius_of_the_settings() -> None:
    settings = EvolutionConfig(algorithm="biotune", exploitation_radius=0.01)
    toolbox = build_toolbox(settings, np.random.default_rng(0), 2)
    steps = [abs(toolbox.probe(np.array([0.5, 0.1]))[0][0] - 0.5) for _ in range(100)]
    assert 0.005 < max(steps) <= 0.01
