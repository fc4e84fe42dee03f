"""Handing a run in, with a crash on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployed.provisioned import founded
from end_to_end.small_runs import SITES, small_run
from foedus.api.run_queue import waiting_runs
from foedus.api.submit import submit
from foedus.config.loading import load_config
from foedus.core.errors import LinkError
from foedus.federation.run_folder import RunFolder


class Killed(Exception):  # noqa: N818 - it says what happened
    pass


def test_a_run_whose_handing_in_was_killed_is_handed_in_again_under_its_name(tmp_path: Path) -> None:
    kit = founded(tmp_path, SITES).kits["coordinator"].folder
    config = load_config(small_run(tmp_path))

    def die(*_: object) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "write", die)
        with pytest.raises(Killed):
            submit(config, kit)
    assert waiting_runs(kit) == []
    folder = submit(config, kit)
    assert [str(run.path) for run in waiting_runs(kit)] == [folder]
    with pytest.raises(LinkError, match="there is a run small already"):
        submit(config, kit)
