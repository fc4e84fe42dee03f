from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from foedus.core.entropy import Entropy
from foedus.core.errors import ParticipantError, RunFolderError
from foedus.core.seeds import SeedKey
from foedus.core.trees import ParamTree
from foedus.federation.protocols import Memory
from foedus.privacy.clipping_rules import FixedClip
from foedus.privacy.factors import BandedSquareRoot, BufferedToeplitz
from foedus.privacy.plan import StreamPlan
from foedus.privacy.streams import CorrelatedNoise, create_noise_key, delete_noise_key, participated, read_noise_key

BANDED, BUFFERED = BandedSquareRoot(3), BufferedToeplitz((0.4, 0.3), (0.9, 0.5))


def plan(factor: BandedSquareRoot | BufferedToeplitz = BANDED, rounds: int = 9) -> StreamPlan:
    return StreamPlan(
        noise_multiplier=2.0,
        clip=FixedClip(0.5),
        delta=1e-3,
        population=12,
        cohort=4,
        rounds=rounds,
        min_separation=3,
        max_participations=3,
        factor=factor,
    )


def seeded() -> Entropy:
    return Entropy.reproducible_from(SeedKey.from_seed(5))


def zeros(size: int = 4) -> ParamTree:
    return {"b": torch.zeros(size), "a": torch.zeros(2, 2)}


@pytest.mark.parametrize("factor", [BANDED, BUFFERED])
def test_noise_is_the_solution_of_the_factors_system(factor: BandedSquareRoot | BufferedToeplitz) -> None:
    """C y = z, where z is the independent noise of each round and C has the factor's column on its diagonals."""
    column = factor.column(9)
    matrix = np.array([[column[t - s] if t >= s else 0.0 for s in range(9)] for t in range(9)])
    stream = CorrelatedNoise(plan(factor), seeded())
    noise = np.stack([stream.of_round(t, zeros())["b"].double().numpy() for t in range(9)])
    independent = CorrelatedNoise(plan(BandedSquareRoot(1)), seeded())
    ratio = plan(factor).independent_stddev / plan(BandedSquareRoot(1)).independent_stddev
    expected = np.stack([independent.of_round(t, zeros())["b"].double().numpy() for t in range(9)]) * ratio
    np.testing.assert_allclose(matrix @ noise, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("factor", [BANDED, BUFFERED])
def test_a_resumed_run_goes_on_with_the_same_noise(factor: BandedSquareRoot | BufferedToeplitz) -> None:
    whole = CorrelatedNoise(plan(factor), seeded())
    expected = [whole.of_round(t, zeros()) for t in range(9)]
    resumed = CorrelatedNoise(plan(factor), seeded())
    for index in (6, 7, 3, 8):  # and so does one that plays a round again
        actual = resumed.of_round(index, dict(reversed(list(zeros().items()))))
        assert all(torch.equal(actual[name], expected[index][name]) for name in zeros())


def test_noise_has_the_plans_scale_and_no_other() -> None:
    drawn = CorrelatedNoise(plan(), seeded()).of_round(0, zeros(100_000))["b"]
    ratio = float(drawn.double().std()) / plan().independent_stddev
    assert abs(ratio - 1) < 3.29 / (2 * 100_000) ** 0.5  # 0.1 % false alarm
    assert plan().independent_stddev > 2.0 * 0.5  # the sensitivity of taking part three times is above 1


def test_rounds_beyond_the_stream_have_no_noise() -> None:
    with pytest.raises(ValueError, match="noise of round 9 was asked for; the stream has 9 rounds"):
        CorrelatedNoise(plan(), seeded()).of_round(9, zeros())


def test_a_key_that_nobody_keeps_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a key that is kept"):
        CorrelatedNoise(plan(), Entropy.secret())


def test_a_noise_key_is_its_owners_alone_and_gives_the_same_noise_when_read_again(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "noise"
    created = create_noise_key(path)
    assert not created.reproducible
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["noise"]
    assert read_noise_key(path).draw(32) == created.draw(32)
    assert create_noise_key(tmp_path / "other").draw(32) != read_noise_key(path).draw(32)


def test_a_key_in_use_is_not_written_over(tmp_path: Path) -> None:
    before = create_noise_key(tmp_path / "noise").draw(8)
    with pytest.raises(RunFolderError, match="holds a noise key already"):
        create_noise_key(tmp_path / "noise")
    assert read_noise_key(tmp_path / "noise").draw(8) == before
    assert len(list(tmp_path.iterdir())) == 1


def test_a_run_without_its_key_cannot_go_on(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="start a new one"):
        read_noise_key(tmp_path / "noise")


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    create_noise_key(tmp_path / "noise")
    (tmp_path / "noise").chmod(0o640)
    with pytest.raises(RunFolderError, match="has mode 640"):
        read_noise_key(tmp_path / "noise")


def test_half_a_key_is_refused(tmp_path: Path) -> None:
    create_noise_key(tmp_path / "noise")
    (tmp_path / "noise").write_bytes(bytes(31))
    with pytest.raises(RunFolderError, match="it has 31 bytes"):
        read_noise_key(tmp_path / "noise")


def test_a_deleted_key_is_gone_and_may_be_deleted_again(tmp_path: Path) -> None:
    create_noise_key(tmp_path / "noise")
    kept = (tmp_path / "noise").open("rb")  # as a reader that had it open sees it
    for _ in range(2):
        delete_noise_key(tmp_path / "noise")
    assert list(tmp_path.iterdir()) == []
    with kept:
        assert kept.read() == bytes(32)


def asked(rounds: list[int]) -> tuple[Memory, list[str]]:
    """Return what a participant remembers that was asked in these rounds, and why it refused."""
    memory: Memory = {}
    refused = []
    for index in rounds:
        try:
            memory = {**memory, **participated(memory, plan(), index)}
        except ParticipantError as error:
            refused.append(str(error))
    return memory, refused


SCHEDULES: Mapping[str, tuple[list[int], list[str]]] = {
    "as planned": ([0, 3, 6], []),
    "later than it may": ([1, 5, 8], []),
    "too soon": ([0, 2], ["it took part in round 1 and may again from round 4 on"]),
    "twice in a round": ([4, 4], ["it took part in round 5 and may again from round 8 on"]),
    "back in time": ([4, 1], ["it took part in round 5"]),
    "too often": ([0, 3, 6, 9 - 1, 8], ["it took part 3 times already"] * 2),
    "beyond the end": ([9], ["it was asked in round 10, and the plan has 9"]),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_participant_refuses_what_the_plan_does_not_allow(name: str) -> None:
    rounds, expected = SCHEDULES[name]
    refused = asked(rounds)[1]
    assert len(refused) == len(expected)
    assert all(message in actual for message, actual in zip(expected, refused, strict=True))


def test_a_refusal_does_not_move_what_it_remembers() -> None:
    memory, _ = asked([0, 2, 3])
    assert {name: int(value) for name, value in memory["privacy_participation"].items()} == {
        "count": 2,
        "last_round": 3,
    }
