"""A private run's trainer that is killed with kill -9: what it had reserved stays spent, what it finished is kept."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import yaml

from deployed.private import RECORDS, private_config
from foedus.config.dump import dump_config
from foedus.config.ground import Ground
from foedus.config.loading import load_config
from foedus.config.side import build_side
from foedus.core.errors import ParticipantError
from foedus.engines.codec.messages import Question, decode_answer, encode_question
from foedus.engines.codec.tensors import Limits
from foedus.engines.trainers import Place, Trainers
from foedus.federation.membership import Agree, Begin, Told
from foedus.federation.messages import Broadcast, Clock, LocalUpdate, Train
from foedus.privacy.ledger.ledger import Ledger
from foedus.privacy.ledger.places import participant_ledger

pytestmark = pytest.mark.end_to_end

RUN, STEPS = "0" * 32, 40


def _uses(folder: Path) -> int:
    place = participant_ledger(folder / "ledgers", "north")
    accounts = Ledger(place).accounts() if place.exists() else []
    return sum(spending.uses for account in accounts for spending in account.spendings)


def _kill(trainers: Trainers) -> None:
    pid = trainers.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def test_a_killed_trainer_never_spends_twice_for_one_reply(tmp_path: Path) -> None:
    config = load_config(private_config(tmp_path, privacy=RECORDS, local={"steps": STEPS, "learning_rate": 0.1}))
    assert config.model.kind == "checkpoint"
    file = tmp_path / "participant.yaml"
    allow = {"runs": ["*"], "models": [config.model.path], "plain_sums": True}
    budget = {"epsilon": 30, "delta": 0.01}
    values = {"data": {"train": "sites/north.csv"}, "allow": allow, "budget": budget, "ledgers": "ledgers"}
    file.write_text(yaml.safe_dump({**values, "device": "cpu"}))
    trainers = Trainers(Place("north", file, tmp_path / "state", None, tmp_path / "log"), 1 << 30)
    ground = Ground(("north",), ["heart", "lung", "skin"], None, 1)
    initial = build_side(config, ground).initial

    def ask(kind: str, question: Question) -> bytearray:
        data = bytearray(b"".join(encode_question(question)))
        [answer] = trainers.work(RUN, kind, data, lambda: None)
        return answer

    def kill_when_charged() -> None:
        while not _uses(tmp_path):
            time.sleep(0.02)
        _kill(trainers)

    train = Train(Broadcast({"params": initial}, Clock(0, 2)))
    try:
        for kind, message in (("begin", Begin(RUN, dump_config(config))), ("agree", Agree(ground.as_json()))):
            assert isinstance(decode_answer(ask(kind, message), Limits()), Told)
        killer = threading.Thread(target=kill_when_charged)
        killer.start()
        with pytest.raises(ParticipantError, match=r"was killed \(SIGKILL\)"):
            ask("train", train)
        killer.join()
        assert _uses(tmp_path) == STEPS  # nobody knows what had left
        finished = ask("train", train)
        assert isinstance(decode_answer(finished, Limits()), LocalUpdate)
        assert _uses(tmp_path) == 2 * STEPS
        _kill(trainers)
        while trainers.pid is not None:
            time.sleep(0.02)
        assert ask("train", train) == finished
        assert _uses(tmp_path) == 2 * STEPS
    finally:
        trainers.stop()
