"""What a participant checks of its privacy before it signs what a run came to: nobody else knows what it was charged.

The coordinator draws up the attestation. It may ask in any order, claim less than was paid, or change a bill; whoever
signs that has lost the proof that it was otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from foedus.config import sections
from foedus.config.claims import BILLS, PLANNED, Work, check_promise
from foedus.config.own_privacy import BILL, EPSILON, OwnPrivacy
from foedus.config.privacy import is_reproducible
from foedus.core.errors import SignatureError
from foedus.federation.messages import ParticipantId
from foedus.privacy.bills import read_bills
from foedus.privacy.signing.statements import Attestation


def refuse_untrue(own: OwnPrivacy, participants: Sequence[ParticipantId], attestation: Attestation) -> None:
    """Return if all that an attestation claims of privacy is so, as far as this participant can know.

    participants: all of the run.
    Raises: SignatureError with the first claim that is not; LedgerError if the own ledger cannot tell.
    """
    privacy, claimed = own.config.privacy, attestation.guarantee
    try:
        if isinstance(privacy, sections.NoPrivacy):
            if claimed is not None or attestation.ledger is not None:
                raise SignatureError("the run has no privacy, and the attestation claims some")
            return
        if not isinstance(claimed, Mapping):
            raise SignatureError("the attestation says nothing of the privacy that the run spent")
        files = []
        if not is_reproducible(privacy):
            told = own.told()
            if told is None:
                raise SignatureError("it was asked to sign what the run came to before it told what that cost it")
            _require_own_bill(own, claimed, told)
            _require_no_less(told, claimed, attestation.ledger)
            files = [own.bill_file] if _is_sealed(told) else []
        counted = Counter(
            name for rounds in attestation.counted for name in set(rounds.participants) for _ in rounds.rounds
        )
        check_promise(own.config, claimed, Work(participants, counted, attestation.rounds), files)
    except SignatureError as error:
        raise SignatureError(f"{own.name} does not sign: {error}") from None


def _require_own_bill(own: OwnPrivacy, claimed: Mapping[str, Any], told: Mapping[str, Any]) -> None:
    """Check that the own bill stands there as it was told, and is what the ledger still says."""
    bill, bills = told.get(BILL), claimed.get(BILLS)
    stated = [each for each in bills if isinstance(each, dict) and each.get("payer") == own.name] if bills else []
    if stated != ([] if bill is None else [bill]):
        raise SignatureError("the bill that stands there under its name is not the one that it told")
    files = [own.bill_file] if _is_sealed(told) else []
    opened = None if bill is None else read_bills([bill], files)[0].get(own.name)
    if opened != own.bill():
        raise SignatureError("its ledger was charged something else for the run since it told what that cost it")


def _require_no_less(told: Mapping[str, Any], claimed: Mapping[str, Any], ledger: Any) -> None:
    """Check that no epsilon that stands there is less than what this participant told."""
    paid, epsilon = told[EPSILON], claimed.get("epsilon")
    if not (isinstance(epsilon, int | float) and epsilon >= paid):
        raise SignatureError(f"epsilon {epsilon} is claimed, and it told {paid:g}")
    if ledger is None or (isinstance(ledger, Mapping) and ledger.get(PLANNED) is True):
        return
    spent = ledger.get("epsilon") if isinstance(ledger, Mapping) else None
    if not (isinstance(spent, int | float) and spent >= paid):
        raise SignatureError(f"the last round's record claims that {spent} was spent, and it told {paid:g}")


def _is_sealed(told: Mapping[str, Any]) -> bool:
    return "sealed" in (told.get(BILL) or {})
