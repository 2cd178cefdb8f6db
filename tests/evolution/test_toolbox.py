"""Tests of the toolbox: what each switch removes, and that it leaves the rest alone."""

from dataclasses import replace

import numpy as np
import pytest

from biotune.config.schema import EvolutionConfig
from biotune.evolution.individual import Genes, Individual
from biotune.evolution.toolbox import breed, build_toolbox

SWITCHES = ("crossover", "momentum", "mutation", "adoption")


def individual(genes: list[float], momentum: list[float], extinction: float) -> Individual:
    return Individual(np.array(genes), np.array(momentum), 0, "initial", extinction)


FIRST = individual([0.2, 0.4, 0.6], [0.1, -0.1, 0.2], 1.0)
SECOND = individual([0.8, 0.5, 0.3], [0.3, 0.1, -0.2], 0.5)
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


def test_crossover_alone_stays_between_the_parents() -> None:
    genes, momentum = bred(**only("crossover"))
    u = np.random.default_rng(7).random(3)
    assert genes == pytest.approx(u * [0.2, 0.4, 0.6] + (1 - u) * [0.8, 0.5, 0.3])
    assert momentum.tolist() == [0.0, 0.0, 0.0]


def test_momentum_alone_moves_the_first_parent_and_is_handed_on() -> None:
    genes, momentum = bred(**only("momentum"))
    rng = np.random.default_rng(7)
    inherited = rng.random(3) * [0.1, -0.1, 0.2] + rng.random(3) * [0.3, 0.1, -0.2]
    moved = [0.2, 0.4, 0.6] + rng.random() * inherited
    assert genes == pytest.approx(np.clip(moved, 0, 1))
    assert momentum == pytest.approx(rng.random(3) * inherited + (np.clip(moved, 0, 1) - moved))


def test_mutation_alone_uses_the_mean_of_the_parents_factors() -> None:
    genes, momentum = bred(**only("mutation"))
    rng = np.random.default_rng(7)
    hit = rng.random(3) < (0.75 * 2 + 1) / 3
    assert genes == pytest.approx(np.clip([0.2, 0.4, 0.6] + hit * rng.uniform(-1, 1, 3) * 0.75, 0, 1))
    assert momentum.tolist() == [0.0, 0.0, 0.0]


def test_adoption_alone_draws_the_first_parent_to_the_mean_and_the_prototype() -> None:
    genes, _ = bred(**only("adoption"))
    r1, a, b = np.random.default_rng(7).random(3)
    start, mean = np.array([0.2, 0.4, 0.6]), np.array([0.5, 0.45, 0.45])
    assert genes == pytest.approx(start + r1 * a * (mean - start) + (1 - r1) * b * (np.array([0.9, 0.9, 0.1]) - start))


def test_all_operators_together_follow_the_published_order() -> None:
    genes, momentum = bred()
    rng = np.random.default_rng(7)
    p1, p2, prototype = np.array([0.2, 0.4, 0.6]), np.array([0.8, 0.5, 0.3]), np.array([0.9, 0.9, 0.1])
    u = rng.random(3)
    c = u * p1 + (1 - u) * p2
    v = rng.random(3) * [0.1, -0.1, 0.2] + rng.random(3) * [0.3, 0.1, -0.2]
    moved = c + rng.random() * v
    hit = rng.random(3) < (0.75 * 2 + 1) / 3
    x = np.clip(moved + hit * rng.uniform(-1, 1, 3) * 0.75, 0, 1)
    r1, a, b = rng.random(3)
    x = np.clip(x + r1 * a * ((p1 + p2) / 2 - x) + (1 - r1) * b * (prototype - x), 0, 1)
    assert genes == pytest.approx(x)
    assert momentum == pytest.approx(rng.random(3) * v + (x - moved))


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
    second = replace(SECOND, unfreezing="last_to_first")
    one, other = (breed(toolbox, FIRST, second, PROTOTYPE) for toolbox in (still, evolving))
    assert one.genes.tolist() == other.genes.tolist()
    orders = [breed(evolving, FIRST, second, PROTOTYPE).unfreezing for _ in range(100)]
    assert {breed(still, FIRST, second, PROTOTYPE).unfreezing for _ in range(100)} == {"together"}
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
