"""When a run's noise key is made, read, or missed."""

from __future__ import annotations

from pathlib import Path

import pytest

from foedus.config.private_run import _noise_key, noise_key_of
from foedus.core.errors import RunFolderError
from foedus.federation.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def played(folder: RunFolder, rounds: int) -> None:
    (folder.checkpoints / f"round-{rounds:05d}").mkdir(parents=True)


def test_a_run_makes_its_key_before_its_first_round_and_keeps_it(folder: RunFolder) -> None:
    first = _noise_key(folder, rounds=5).draw(16)
    assert _noise_key(folder, rounds=5).draw(16) == first  # it crashed before its first checkpoint
    played(folder, 2)
    assert _noise_key(folder, rounds=5).draw(16) == first


def test_a_run_whose_key_is_lost_does_not_go_on_with_another(folder: RunFolder) -> None:
    _noise_key(folder, rounds=5)
    played(folder, 2)
    noise_key_of(folder).unlink()
    with pytest.raises(RunFolderError, match="start a new one"):
        _noise_key(folder, rounds=5)
    assert not noise_key_of(folder).exists()


def test_a_run_that_is_over_needs_no_key(folder: RunFolder) -> None:
    played(folder, 5)
    _noise_key(folder, rounds=5)
    assert not noise_key_of(folder).exists()
