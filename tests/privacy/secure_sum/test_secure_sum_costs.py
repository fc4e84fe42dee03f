"""What `explain` says a sum costs is what a played one is counted to send."""

from __future__ import annotations

import pytest
import torch

from foedus.federation.protocols import ServerState
from foedus.federation.round import play_round
from foedus.privacy.secure_sum.contents import Scale, contents_of_updates
from foedus.privacy.secure_sum.cost import Load, cost_of_masks, cost_of_none, masks_of
from foedus.privacy.secure_sum.graph import shape, tolerated_colluders, withstood_colluders
from foedus.privacy.secure_sum.masks import Layout
from foedus.privacy.secure_sum.terms import Rules
from foedus.strategies.fedavg import fedavg
from privacy.secure_sum.federations import names_of
from privacy.secure_sum.test_embedded_sums import COUNT, TASKS, secure

RUN_AND_TASK = len("task" + "run" + "update")  # names in the terms, which an estimate leaves out


def test_the_bytes_are_those_of_a_played_round() -> None:
    hidden = secure(fedavg())
    params = {"x": torch.tensor([2.0, -1.0, 0.5])}
    _, report = play_round(hidden, ServerState(0, params, hidden.algorithm.init(params)))
    algorithm = hidden.algorithm
    like = algorithm.templates(params, averaged=True), algorithm.templates(params, averaged=False)
    load = Load(list(TASKS), 0, 12, contents_of_updates(*like, Scale(64.0, 32.0, COUNT)).layout)
    cost = cost_of_masks(load, Rules())
    assert cost.up_bytes * COUNT == report.collected.bytes_up
    assert (cost.down_bytes + RUN_AND_TASK) * COUNT == report.collected.bytes_down


def test_a_plain_sum_costs_what_is_sent() -> None:
    cost = cost_of_none(Load(["a", "b"], 10, 20, Layout(((32, 1),))))
    assert (cost.up_bytes, cost.down_bytes, cost.exchanges) == (10, 20, 1)
    assert cost.participant_seconds == cost.coordinator_seconds == 0


def test_seconds_grow_with_the_vector_and_with_the_cohort() -> None:
    def seconds(participants: int, values: int) -> float:
        load = Load(names_of(participants), 0, 0, Layout(((32, values),)))
        return cost_of_masks(load, Rules()).participant_seconds

    few = seconds(5, 1_000_000)
    assert seconds(5, 50_000_000) > 10 * few > 0
    assert seconds(40, 1_000_000) > few


@pytest.mark.parametrize("participants", [5, 100])
def test_a_participant_has_a_mask_with_each_who_picked_the_other(participants: int) -> None:
    known = shape(participants, Rules())
    assert known.neighbours < masks_of(known) <= participants


@pytest.mark.parametrize(("min_cohort", "threshold", "withstood"), [(3, 0, 1), (6, 0, 3), (8, 0, 6), (3, 9, 7)])
def test_what_is_said_to_be_withstood_holds_for_the_smallest_group_that_the_coordinator_may_choose(
    min_cohort: int, threshold: int, withstood: int
) -> None:
    rules = Rules(min_cohort, threshold)
    for size in range(rules.least_survivors, 10):
        assert withstood <= tolerated_colluders(size, rules)
        assert rules.survivors_needed(size) - withstood >= 2
    assert withstood_colluders(9, rules) == withstood
    said = cost_of_masks(Load(names_of(9), 10, 20, Layout(((32, 1),))), rules).protects
    assert f"groups of {rules.least_survivors} or more, also if {withstood} of them" in said
