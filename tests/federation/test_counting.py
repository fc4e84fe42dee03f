from collections.abc import Sequence

import pytest
import torch

from foedus.core.errors import ParticipantError
from foedus.federation.counting import CollectedCounts, collect_counts
from foedus.federation.messages import CountPairs, Counts, Evaluate, Evaluation, Failure, Reply, payload_bytes
from foedus.federation.participant import answer
from strategies.quadratics import QuadraticTask

REQUEST = CountPairs(((1, 2),))


def counts(*values: int) -> Counts:
    return Counts(torch.tensor(values))


def collected(replies: Sequence[tuple[str, Reply]]) -> CollectedCounts:
    collector = collect_counts([name for name, _ in replies], REQUEST, 2)
    assert next(collector) == {name: REQUEST for name, _ in replies}
    for received in replies:
        collector.send(received)
    with pytest.raises(StopIteration) as end:
        collector.send(None)
    result: CollectedCounts = end.value.value
    return result


def test_counts_are_summed_exactly() -> None:
    large = 2**60
    result = collected([("a", counts(large, 1)), ("b", counts(1, -3))])
    assert result.total.tolist() == [large + 1, -2]  # noise may make a count negative
    assert (result.reports, dict(result.left_out)) == (2, {})
    assert (result.bytes_down, result.bytes_up) == (2 * 16, 2 * 16)


def test_what_is_no_vector_of_counts_is_left_out() -> None:
    result = collected(
        [
            ("a", counts(1, 2)),
            ("b", counts(1)),
            ("c", Counts(torch.zeros(2))),
            ("d", Failure("it is tired")),
            ("e", Evaluation({})),
        ]
    )
    assert result.total.tolist() == [1, 2]
    assert set(result.left_out) == {"b", "c", "d", "e"}
    assert result.left_out["d"] == "it is tired"
    assert result.left_out["c"].startswith("it counted in (2,) numbers of torch.float32, but 2 of torch.int64")


def test_bytes_are_those_of_the_numbers() -> None:
    assert payload_bytes(REQUEST) == 16
    assert payload_bytes(counts(1, 2, 3)) == 24


class Counter:
    def count_pairs(self, merges: Sequence[tuple[int, int]]) -> torch.Tensor:
        return torch.tensor([len(merges)])


def refuse(*_: object) -> tuple[Reply, dict[str, object]]:
    raise AssertionError("nobody trains here")


def test_a_participant_counts_before_there_is_a_tokenizer_and_trains_afterwards() -> None:
    reply, memory = answer(refuse, Counter(), REQUEST, {})  # type: ignore[arg-type]  # is not called
    assert isinstance(reply, Counts)
    assert reply.values.tolist() == [1]
    assert memory == {}
    with pytest.raises(ParticipantError, match="has no tokenizer yet"):
        answer(refuse, Counter(), Evaluate({}, "test"), {})  # type: ignore[arg-type]  # is not called
    with pytest.raises(ParticipantError, match="holds no texts to count in"):
        answer(refuse, QuadraticTask(1.0, 0.0, [0.1]), REQUEST, {})  # type: ignore[arg-type]  # is not called
