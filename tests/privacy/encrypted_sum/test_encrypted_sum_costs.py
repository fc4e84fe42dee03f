"""What `explain` says an encrypted sum costs is what a played one is counted to send."""

from __future__ import annotations

import pytest
import torch

from foedus.core.errors import SecureSumError
from foedus.federation.protocols import ServerState
from foedus.federation.round import play_round
from foedus.privacy.encrypted_sum.cost import cost_of_ckks
from foedus.privacy.encrypted_sum.kind import Ckks
from foedus.privacy.encrypted_sum.parameters import choose
from foedus.privacy.secure_sum.contents import Scale, contents_of_updates
from foedus.privacy.secure_sum.cost import Load
from foedus.privacy.secure_sum.masks import Layout
from foedus.privacy.secure_sum.terms import Rules
from foedus.strategies.fedavg import fedavg
from privacy.secure_sum.federations import names_of
from privacy.secure_sum.test_embedded_sums import COUNT, TASKS, secure

RUN_AND_TASK = len("task" + "run" + "update")  # names in the terms, which an estimate leaves out


def test_the_bytes_are_those_of_a_played_round() -> None:
    hidden = secure(fedavg(), kind=Ckks(choose(COUNT)), value_range=16.0)
    params = {"x": torch.tensor([2.0, -1.0, 0.5])}
    _, report = play_round(hidden, ServerState(0, params, hidden.algorithm.init(params)))
    algorithm = hidden.algorithm
    like = algorithm.templates(params, averaged=True), algorithm.templates(params, averaged=False)
    load = Load(list(TASKS), 0, 12, contents_of_updates(*like, Scale(16.0, 32.0, COUNT)).layout)
    cost = cost_of_ckks(load, Rules())
    assert 0 <= report.collected.bytes_up - cost.up_bytes * COUNT < COUNT  # the part of one opening, rounded down
    assert 0 <= report.collected.bytes_down - (cost.down_bytes + RUN_AND_TASK) * COUNT < COUNT
    assert cost.exchanges == 5


def test_a_million_values_take_less_than_twice_their_bytes_up() -> None:
    load = Load(names_of(6), 0, 0, Layout(((64, 20), (32, 1_000_000))))
    cost = cost_of_ckks(load, Rules())
    assert 1.75 <= cost.up_bytes / 4_000_000 < 2
    assert cost.participant_seconds > cost.coordinator_seconds / 6 > 0


def test_too_few_participants_for_the_rules_have_no_cost() -> None:
    with pytest.raises(SecureSumError, match="min_cohort is 3"):
        cost_of_ckks(Load(names_of(2), 0, 0, Layout(((32, 1),))), Rules())
