"""Who refuses a run is asked seldom, answers without work, and takes part once its file allows it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from end_to_end.small_runs import small_run
from foedus.config.dump import dump_config
from foedus.config.loading import load_config
from foedus.engines.codec.messages import decode_answer, decode_question, encode_answer, encode_question
from foedus.engines.codec.tensors import Limits
from foedus.engines.remote import LONGEST_WAIT_S, RemoteEngine
from foedus.engines.trainers import Place, Trainers
from foedus.engines.way import Letter, Silence
from foedus.federation.membership import Begin, Told
from foedus.federation.messages import Evaluate, Failure

RUN = "0" * 32


class TwoOrganisations:
    """A way to north, which takes part, and south, which refuses for a reason. asked: how often it did."""

    def __init__(self) -> None:
        self.reason: str | None = "allow.runs is other-*"
        self.asked = 0

    def ask(self, letters: Mapping[str, Letter]) -> Iterator[tuple[str, bytearray | Silence]]:
        for name, letter in letters.items():
            question = decode_question(bytearray(b"".join(letter.content)), Limits())
            answer: Told | Failure = Failure("has no rows") if isinstance(question, Evaluate) else Told()
            if name == "south" and isinstance(question, Begin):
                self.asked += 1
                answer = Told() if self.reason is None else Failure(self.reason)
            yield name, bytearray(b"".join(encode_answer(answer)))

    def reachable(self, names: Collection[str]) -> Collection[str]:
        return names


class Federation:
    def __init__(self) -> None:
        self.way = TwoOrganisations()
        self.told: list[str] = []
        self.time = 0.0
        notice = lambda name, what: self.told.append(f"{name} {what}")  # noqa: E731 - it is read in its place
        self.engine = RemoteEngine(self.way, RUN, ["north", "south"], notice=notice, now=lambda: self.time)
        self.engine.introduce(Begin(RUN, "a run"))

    def work(self, seconds: float) -> Collection[str]:
        """Let time go by, and return who answers when work is asked for."""
        self.time += seconds
        return {name for name, _ in self.engine.exchange(dict.fromkeys(("north", "south"), Evaluate({}, "test")))}


def test_who_refuses_is_asked_again_at_growing_intervals_and_its_reason_is_told_once() -> None:
    federation = Federation()
    for _ in range(1000):
        assert federation.work(1) == {"north"}
    assert 5 < federation.way.asked < 15
    assert federation.told == ["south refused: allow.runs is other-*"]
    federation.way.reason = "allow.rounds is 5"
    federation.work(LONGEST_WAIT_S)
    assert federation.told[1:] == ["south refused: allow.rounds is 5"]


def test_who_allows_it_by_now_is_back() -> None:
    federation = Federation()
    federation.work(1)
    federation.way.reason = None
    assert federation.work(0) == {"north"}
    assert federation.work(LONGEST_WAIT_S) == {"north", "south"}
    assert federation.told == ["south refused: allow.runs is other-*", "south is back"]


@pytest.mark.end_to_end
def test_a_refused_run_costs_no_trainer_until_the_file_changes(tmp_path: Path) -> None:
    config = load_config(small_run(tmp_path))
    file, told = tmp_path / "participant.yaml", list[str]()

    def allow(runs: str) -> None:
        allowed = {"runs": [runs], "models": [config.model.path], "tell_labels": True}  # type: ignore[union-attr]
        allowed |= {"plain_sums": True, "own_figures": True}
        file.write_text(yaml.safe_dump({"data": {"train": "sites/north.csv"}, "allow": allowed, "device": "cpu"}))

    allow("other-*")
    trainers = Trainers(Place("north", file, tmp_path / "state", None, tmp_path / "log"), 1 << 30, told.append)

    def begin() -> Told | Failure:
        data = bytearray(b"".join(encode_question(Begin(RUN, dump_config(config)))))
        answer = decode_answer(trainers.work(RUN, "begin", data, lambda: None)[0], Limits())
        assert isinstance(answer, Told | Failure)
        return answer

    try:
        refused = begin()
        assert isinstance(refused, Failure)
        assert "allow.runs is other-*" in refused.reason
        assert trainers.pid is None
        assert refused.reason in (tmp_path / "log").read_text()
        lines = list(told)
        assert [begin() for _ in range(3)] == [refused] * 3
        assert trainers.pid is None
        assert told == lines
        allow("small")
        assert isinstance(begin(), Told)
        assert trainers.pid is not None
    finally:
        trainers.stop()
