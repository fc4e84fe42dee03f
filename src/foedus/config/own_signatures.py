"""A participant's half of signatures between organisations: what it checks of a run's log, and signs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from foedus.config import sections
from foedus.config.own_privacy import RECEIPTS, short_name
from foedus.config.secure_sums import pinned_keys
from foedus.config.signed_run import shown_of_rounds
from foedus.core.errors import ConsentError, SignatureError
from foedus.engines.codec.messages import Answer, Question
from foedus.federation.membership import Begin, Told
from foedus.federation.messages import Evaluate, ParticipantId, Request, SecureSumStep, Train
from foedus.privacy.signing.digests import request_digest
from foedus.privacy.signing.envelopes import Attest, GiveReceipts, GoBack, OpenLog, SignedAnswer, SignedRequest
from foedus.privacy.signing.identity import Identity
from foedus.privacy.signing.pins import Pins
from foedus.privacy.signing.receipts import receipt_file
from foedus.privacy.signing.signing_side import SigningSide, is_signed, work_of
from foedus.privacy.signing.statements import COORDINATOR, Attestation


def open_log(
    message: OpenLog,
    begin: Begin,
    config: sections.RunConfig,
    participants: Sequence[ParticipantId],
    *,
    name: ParticipantId,
    identity: Identity,
    pins: Pins,
    folder: Path,
) -> SigningSide:
    """Return a participant's side of a signed run, if its log begins with the run that it was told of.

    begin: what it was told first. participants: all that take part. folder: where its receipts are kept.
    Raises: SignatureError if the log is of another run, of other settings or of other keys than the pinned ones.
    """
    keys = pinned_keys(pins, [COORDINATOR, *participants])
    file = receipt_file(folder / RECEIPTS, name, short_name(config, begin.run), durable=True)
    side = SigningSide(name, identity, keys[COORDINATOR], message.begun, file)
    stated = side.run
    expected = {each: keys[each].hex() for each in participants}
    if stated.run != begin.run or stated.settings != hashlib.sha256(begin.config.encode()).hexdigest():
        raise SignatureError("the log begins with another run, or other settings, than this participant was told")
    if stated.roster != expected:
        raise SignatureError("the log begins with other participants, or other keys of them, than those agreed on")
    if stated.rounds != shown_of_rounds(config):
        raise SignatureError(f"the log is to tell of rounds what a run like this does not: {stated.rounds}")
    side.remember()
    return side


def answer_signed(
    side: SigningSide,
    question: SignedRequest | GiveReceipts | GoBack | Attest,
    answer: Callable[[Request], Answer],
    refuse_untrue: Callable[[Attestation], None],
) -> SignedAnswer | Told:
    """Return the signed answer to a signed request, or to what a signed run asks beside.

    answer: does the work. refuse_untrue: raises if an attestation claims what this participant knows to be otherwise.
    Raises: SignatureError if it is not what the coordinator may ask, or does not fit what it showed before.
    """
    match question:
        case SignedRequest(request, asked):
            work = work_of(request)
            side.accept(request, "" if work is None else request_digest(work).hex(), asked)
            reply = answer(request)
            assert not isinstance(reply, Told | SignedAnswer), "work is answered by replies"
            signed = side.signed(request, reply)
            return SignedAnswer(signed.reply, signed.signed, signed.salt)
        case GiveReceipts(kept):
            side.keep(kept)
            return Told()
        case GoBack(head):
            return Told({"size": side.go_back_to(head)})
        case Attest(attestation):
            refuse_untrue(attestation)
            return Told({"signature": side.attest(attestation)})


def refuse_unsigned(config: sections.RunConfig, question: Question, *, opened: bool) -> None:
    """Check that nothing leaves unsigned which a signed run's participants sign.

    opened: whether it knows the log. Before that there are counts and dry rounds alone, be they summed securely.
    Raises: ConsentError.
    """
    if not isinstance(config.signatures, sections.Ed25519):
        return
    if not isinstance(question, Train | Evaluate | SecureSumStep) or not is_signed(question):
        return
    if opened or work_of(question) is not None:
        raise ConsentError(
            "it was asked for what it signs in this run (signatures: ed25519), and the coordinator did not sign what "
            "it asks; nothing was sent"
        )
