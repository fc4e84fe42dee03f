"""A run's id stands for one run, at an organisation too."""

from __future__ import annotations

from pathlib import Path

from deployed.loopback import organisations
from deployed.test_halves import SGD, data_of
from end_to_end.small_runs import small_run
from foedus.config.dump import dump_config
from foedus.config.loading import load_config
from foedus.config.participant import ParticipantRun
from foedus.federation.membership import Begin, Told
from foedus.federation.messages import Failure

RUN, OTHER = "0" * 32, "1" * 32


def test_another_run_under_the_id_of_one_that_an_organisation_knows_is_refused(tmp_path: Path) -> None:
    """Its costs, its answers in secure sums and its receipts are kept by that id."""
    config = small_run(tmp_path, **SGD)
    made, _ = organisations(tmp_path, data_of(tmp_path), models=[str(config["model"]["path"])])
    home = made["north"].home
    one, two = dump_config(load_config(config)), dump_config(load_config({**config, "rounds": {"count": 7}}))
    north = ParticipantRun(home)
    assert isinstance(north.answer(Begin(RUN, one)), Told)
    for side in (north, ParticipantRun(home)):  # also after its trainer was started again
        refused = side.answer(Begin(RUN, two))
        assert isinstance(refused, Failure)
        assert "another run under the number of one that it knows" in refused.reason
        assert isinstance(side.answer(Begin(RUN, one)), Told)
    assert isinstance(ParticipantRun(home).answer(Begin(OTHER, two)), Told)
