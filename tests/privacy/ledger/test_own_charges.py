"""What one participant's own ledger says that a run cost it."""

from __future__ import annotations

from pathlib import Path

import pytest

from foedus.federation.messages import Broadcast, Clock, Train
from foedus.privacy.events import Gaussian
from foedus.privacy.ledger.guard import Payer
from foedus.privacy.ledger.ledger import Ledger
from foedus.privacy.ledger.own import OwnCharges
from foedus.privacy.ledger.places import participant_ledger
from privacy.ledger.small_plans import plan, rows

ASKED = Train(Broadcast({}, Clock(0, 10)))
RUN = "0" * 32


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = Ledger(participant_ledger(tmp_path / "ledgers", "north"))
    made.register("icu", rows(range(100)))
    return made


def charges(ledger: Ledger, noise_multiplier: float, *, steps: int = 1, run: str = RUN) -> OwnCharges:
    mark = ledger.path.parent / f"charged-{run}"
    return OwnCharges(run, 10, Payer(ledger, "icu", plan(noise_multiplier, steps=steps)), mark, repeats=False)


def test_a_run_that_was_charged_nothing_has_no_bill(ledger: Ledger) -> None:
    charges(ledger, 2.0, run="1" * 32).reserve(ASKED)
    assert charges(ledger, 2.0).bill() is None


def test_a_bill_holds_what_the_run_was_charged_under_other_settings_of_the_same_id(ledger: Ledger) -> None:
    """Or a coordinator could have less attested than was paid: rounds of little noise, and then some of much."""
    charges(ledger, 0.5).reserve(ASKED)
    charges(ledger, 50.0).reserve(ASKED)
    bill = charges(ledger, 50.0).bill()
    assert bill is not None
    assert dict(bill.charges) == {Gaussian(0.5): 1, Gaussian(50.0): 1}


def test_a_bill_counts_every_step_whatever_the_number_of_a_round_was(ledger: Ledger) -> None:
    charges(ledger, 2.0, steps=4).reserve(ASKED)
    charges(ledger, 2.0, steps=7).reserve(ASKED)
    bill = charges(ledger, 2.0, steps=7).bill()
    assert bill is not None
    assert dict(bill.charges) == {Gaussian(2.0): 11}
