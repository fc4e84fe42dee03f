"""Whole rounds over the embedded engine: threshold sums end where plain rounds end, to the grid's error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch

from contracts.strategy_cases import STRATEGIES
from foedus.core.entropy import Entropy
from foedus.federation.protocols import Algorithm, ServerState
from foedus.federation.round import Federation, play_round
from foedus.privacy.secure_sum.contents import Scale, contents_of_updates
from foedus.privacy.secure_sum.cost import Load
from foedus.privacy.secure_sum.embedding import SecureSide, SecureSums
from foedus.privacy.secure_sum.exchanges import Summation
from foedus.privacy.secure_sum.keys import Identities
from foedus.privacy.secure_sum.kinds import Draft, SumKind
from foedus.privacy.secure_sum.participant import Member, Participation
from foedus.privacy.secure_sum.terms import Rules, Terms
from foedus.privacy.threshold.coordinator import sum_by_threshold
from foedus.privacy.threshold.cost import cost_of_threshold
from foedus.privacy.threshold.kind import Threshold
from foedus.privacy.threshold.participant import take_part
from foedus.strategies.fedavg import fedavg
from privacy.secure_sum.federations import Notebook, members_of
from privacy.secure_sum.test_embedded_sums import COUNT, PARTS, ROUNDS, TASKS, Vanishing, played, start
from privacy.threshold.threshold_federations import PHASES, SMALL
from strategies.quadratics import federation, statistics

PARAMS = {"x": torch.tensor([2.0, -1.0, 0.5])}
RUN_AND_TASK = len("task" + "run" + "update")  # names in the terms, which an estimate leaves out


@dataclass(frozen=True)
class InSmall(Threshold):
    """Threshold sums in a ring that protects nobody, for speed."""

    def coordinate(self, terms: Terms, cohort: Sequence[str], identities: Identities) -> Summation:
        return sum_by_threshold(terms, cohort, identities, ring=SMALL)

    def take_part(
        self, member: Member, terms: Terms, invitation: bytes, draft: Draft, entropy: Entropy
    ) -> Participation:
        return take_part(member, terms, invitation, draft.vector, entropy, ring=SMALL)


def with_threshold(
    algorithm: Algorithm, vanish: dict[str, int] | None = None, kind: SumKind | None = None
) -> Federation:
    members = members_of(COUNT)
    pinned = next(iter(members.values())).identities
    like = statistics(loss=0.0, units=0.0)
    sums = SecureSums("task", "run", Rules(), Scale(64.0, 32.0, COUNT), pinned, algorithm, like, kind or InSmall())
    sides = {
        name: SecureSide(Member(name, member.identity, pinned, Notebook()), sums) for name, member in members.items()
    }
    engine = Vanishing(algorithm.local, TASKS, secure=sides)
    engine.vanish, engine.seen, engine.sides = vanish or {}, [], sides
    plain = federation(algorithm, TASKS, rounds=ROUNDS)
    return replace(plain, engine=engine, collect=sums.collect_updates, collect_evaluation=sums.collect_evaluations)


@pytest.mark.parametrize("name", PARTS)
def test_every_strategy_ends_where_it_ends_without_encryption(name: str) -> None:
    plain, plain_reports = played(federation(STRATEGIES[name](), TASKS, rounds=ROUNDS))
    hidden, reports = played(with_threshold(STRATEGIES[name]()))
    assert [report.reason for report in reports] == [None] * ROUNDS
    assert torch.allclose(plain.params["x"], hidden.params["x"], atol=1e-4, rtol=1e-4)
    for one, other in zip(plain_reports, reports, strict=True):
        assert other.collected.total.weight == one.collected.total.weight
        assert other.collected.total.counts == one.collected.total.counts
        assert other.collected.metrics == {}
    assert plain_reports[-1].evaluation is not None
    assert reports[-1].evaluation is not None
    for key, value in plain_reports[-1].evaluation.union.items():
        assert float(reports[-1].evaluation.union[key]) == pytest.approx(float(value), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("phase", range(len(PHASES)))
def test_one_that_vanishes_early_is_left_out_and_one_that_vanishes_late_costs_the_round(phase: int) -> None:
    gone = "site-0001"
    hidden = with_threshold(fedavg(), {gone: phase})
    before = start(hidden.algorithm)
    after, report = play_round(hidden, before)
    assert report.collected.left_out[gone] == "did not answer"
    if phase < PHASES.index("encrypt"):
        assert report.reason is None
        assert report.collected.total.reports == COUNT - 1
        assert set(report.collected.left_out) == {gone}
        return
    assert report.reason is not None
    assert torch.equal(after.params["x"], before.params["x"])
    assert report.collected.total.reports == 0
    assert "4 of 5" in report.collected.left_out["site-0000"]
    assert "the round does not stand" in report.collected.left_out["site-0000"]


def test_the_bytes_that_explain_states_are_those_of_a_played_round() -> None:
    hidden = with_threshold(fedavg(), kind=Threshold())
    _, report = play_round(hidden, ServerState(0, PARAMS, hidden.algorithm.init(PARAMS)))
    algorithm = hidden.algorithm
    like = algorithm.templates(PARAMS, averaged=True), algorithm.templates(PARAMS, averaged=False)
    load = Load(list(TASKS), 0, 12, contents_of_updates(*like, Scale(64.0, 32.0, COUNT)).layout)
    cost = cost_of_threshold(load, Rules())
    assert cost.up_bytes * COUNT == report.collected.bytes_up
    assert (cost.down_bytes + RUN_AND_TASK) * COUNT == report.collected.bytes_down
    assert cost.participant_seconds > 0
    assert "xperimental" in cost.protects
