"""What a participant keeps of a signed run: what it signed, and the proofs that the log holds it.

One file a run, one line for each thing that it signed, readable by the participant alone. Who has the file can show
that a log is not the one that the coordinator showed then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict

from foedus.core.durable import sync
from foedus.core.errors import SignatureError
from foedus.federation.messages import ParticipantId
from foedus.privacy.own_files import append_own
from foedus.privacy.signing.identity import PublicKey
from foedus.privacy.signing.log import Receipt, Witness
from foedus.privacy.signing.merkle import MerkleTree
from foedus.privacy.signing.sealed import Opening, check_opening
from foedus.privacy.signing.statements import Head, RoundResult, RunBegun, Signed, read, written

SUFFIX, WITHDRAWN = ".receipts.jsonl", ".withdrawn.jsonl"


class Kept(BaseModel):
    """One line of the file.

    signed: the participant's own statement. salt: of an evaluation's digest; empty for others, or if a crash lost it.
    result, opening: of a sealed round, its result, which stands in the log in place of the update, and what shows that
        the update is in it; None for others.
    receipt: that the log holds the statement, or the sealed round's result.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    signed: Signed
    salt: str = ""
    result: Signed | None = None
    opening: Opening | None = None
    receipt: Receipt

    @property
    def logged(self) -> Signed:
        """The entry that stands in the log."""
        return self.signed if self.result is None else self.result

    @property
    def head(self) -> Head:
        """The log's size and root when it was given. Raises: SignatureError if something else stands there."""
        if not isinstance(self.receipt.head.statement, Head):
            raise SignatureError("a receipt holds something else in place of a head")
        return self.receipt.head.statement

    def check_seal(self, participants: int) -> None:
        """Return if nothing is sealed, or the statement is among what is.

        Raises: SignatureError if it is not.
        """
        if self.result is None and self.opening is None:
            return
        if self.opening is None or self.result is None or not isinstance(self.result.statement, RoundResult):
            raise SignatureError("a receipt of a sealed round lacks the round's result, or what opens it")
        check_opening(self.signed, self.opening, self.result.statement, participants)


@dataclass(frozen=True)
class ReceiptFile:
    """One participant's file for one run.

    durable: wait until the disk has what is added. A process that plays many participants has no time for that, and
        what it loses with the machine it is given again.
    """

    path: Path
    durable: bool = False

    def read(self) -> Sequence[Kept]:
        """Return all lines; one that a crash cut short is not one. Nothing is checked here.

        Raises: SignatureError if the file cannot be read.
        """
        try:
            *lines, _ = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SignatureError(f"the receipts {self.path} cannot be read: {error.strerror}") from error
        return [read(Kept, line, f"line {number} of {self.path}") for number, line in enumerate(lines, 1)]

    def add(self, kept: Sequence[Kept]) -> None:
        """Append lines.

        Raises: SignatureError if the file cannot be written.
        """
        _append(self.path, kept, durable=self.durable)

    def withdraw_after(self, size: int) -> None:
        """Put the receipts for a longer log into a file of their own: the coordinator went back to this size.

        They are kept, because they show that it did. A line that a crash cut short goes.
        """
        everything = self.read()
        if not everything:
            return
        if later := [kept for kept in everything if kept.head.size > size]:
            _append(self.path.with_name(self.path.name.removesuffix(SUFFIX) + WITHDRAWN), later, durable=True)
        draft = self.path.with_name(f".{self.path.name}.part")
        draft.unlink(missing_ok=True)
        _append(draft, [kept for kept in everything if kept.head.size <= size], durable=True)
        draft.replace(self.path)
        sync(self.path.parent)


def _append(path: Path, kept: Sequence[Kept], *, durable: bool) -> None:
    try:
        append_own(path, b"".join(written(each) + b"\n" for each in kept), durable=durable)
    except OSError as error:
        raise SignatureError(f"the receipts {path} cannot be written: {error.strerror}") from error


def receipt_file(folder: Path, participant: ParticipantId, run: str, *, durable: bool = False) -> ReceiptFile:
    """Return the file that a participant keeps a run's receipts in.

    folder: of what participants keep for themselves. run: the file's name, without suffix.
    """
    return ReceiptFile(folder / quote(participant, safe=" ") / f"{run}{SUFFIX}", durable)


def read_receipts(path: Path) -> Sequence[Kept]:
    """Return a file's lines, to check a log against.

    Raises: SignatureError if it cannot be read, or holds none.
    """
    found = ReceiptFile(path).read() if path.is_file() else []
    if not found:
        raise SignatureError(f"{path} holds no receipts; a participant's lie beside its ledger, NAME/RUN{SUFFIX}")
    return found


def check_receipts(kept: Sequence[Kept], begun: RunBegun, tree: MerkleTree) -> str:
    """Return whose receipts these are, if the log is the one that their owner was shown, as long as it was then.

    begun: of the log. tree: over it.
    Raises: SignatureError with the first receipt that does not hold, or if the log is another.
    """
    owner = kept[0].signed.signer
    if owner not in begun.roster:
        raise SignatureError(f"these are receipts of {owner}, who is not on the run's roster")
    key = PublicKey.from_hex(begun.roster[owner])
    for each in kept:
        if each.signed.signer != owner:
            raise SignatureError(f"receipts of {owner} hold one of {each.signed.signer}")
        each.signed.check(key)
    seen = check_chain(kept, Witness(begun.run, PublicKey.from_hex(begun.coordinator)), len(begun.roster))
    if seen.size > len(tree) or tree.root(seen.size).hex() != seen.root:
        raise SignatureError(
            f"{owner} was shown a log of {seen.size} entries with the root {seen.root}, and this log of {len(tree)} "
            "does not begin with it: entries were changed or left out since"
        )
    return owner


def check_chain(kept: Sequence[Kept], witness: Witness, participants: int) -> Witness:
    """Return what a participant knows after these receipts.

    Raises: SignatureError with the first that does not follow on what it knew, or proves nothing.
    """
    for each in kept:
        each.check_seal(participants)
        witness = witness.accept(each.logged, each.receipt)
    return witness
