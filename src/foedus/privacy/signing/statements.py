"""What is signed: one class for each kind of statement, and how they are written and read back.

A statement names its run, so that none counts in another one. What comes from a file or from others
is read strictly: another field, another type, or another spelling of the same value is refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from foedus.core.errors import SignatureError
from foedus.privacy.signing.canonical import canonical
from foedus.privacy.signing.identity import Identity, PublicKey

COORDINATOR = "coordinator"  # the name that results are signed under
MAX_BYTES = 16 << 20  # of one written statement; nobody has to read a longer one into memory

Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
RunId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Name = Annotated[str, Field(min_length=1, max_length=1000)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Bytes = Annotated[str, Field(pattern=r"^([0-9a-f]{2})+$")]
Purpose = Literal["update", "evaluation"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class RunBegun(_Strict):
    """The first entry of a log: which run it is of, and whose keys count in it.

    settings: digest of config.yaml. inputs: digest of settings, every participant's rows and base weights.
    rounds: what the log tells of a round: plain: each update that counted. masked: whose masked, or encrypted,
        vectors are in its sum. sealed: its result alone, with a commitment to the updates that shows neither whose nor
        how many.
    """

    kind: Literal["run"] = "run"
    run: RunId
    rounds: Literal["plain", "masked", "sealed"]
    settings: Hash
    inputs: Hash
    coordinator: Hash
    roster: dict[Name, Hash]


class Requested(_Strict):
    """What the coordinator asks in a round: to train, or to evaluate what so many rounds made.

    requests: one digest where all are asked the same, as they are unless a strategy sends some less; ascending.
    """

    kind: Literal["request"] = "request"
    run: RunId
    round: Count
    purpose: Purpose
    requests: list[Hash]


class Updated(_Strict):
    """What a participant answers to a request."""

    kind: Literal["update"] = "update"
    run: RunId
    round: Count
    participant: Name
    request: Hash
    update: Hash


class Evaluated(_Strict):
    """What a participant answers to a request to evaluate.

    figures: salted digest, so that nobody can try out figures against the log.
    """

    kind: Literal["evaluation"] = "evaluation"
    run: RunId
    round: Count
    participant: Name
    request: Hash
    figures: Hash


class Masked(_Strict):
    """What a participant sends into a secure sum: nobody but itself knows what is under its masks, or encryption.

    roster: digest of the sum's roster. vector: digest of the message with the masked, or encrypted, vector.
    """

    kind: Literal["masked"] = "masked"
    run: RunId
    round: Count
    purpose: Purpose
    participant: Name
    request: Hash
    roster: Hash
    vector: Hash


class Summed(_Strict):
    """Whose masked vectors are in a secure sum, with what its participants signed inside the protocol.

    terms, roster: the protocol's own bytes; everyone on the roster signed the terms. sharers, survivors: places on
        it. agreement: signatures of the survivors over who shared and who survived.
    """

    kind: Literal["sum"] = "sum"
    run: RunId
    round: Count
    purpose: Purpose
    terms: Bytes
    roster: Bytes
    sharers: list[Count]
    survivors: list[Count]
    agreement: dict[Name, Bytes]


class RoundResult(_Strict):
    """What became of a round.

    counted: whose updates are in the model; of sealed rounds it is empty, as is the cohort.
    total: digest of the updates' sum, from which the coordinator made the parameters; None in sealed rounds, where
        the exact sum is secret, and where no update counted.
    sealed: root over as many leaves as there are participants, in an order drawn at random: of each update that
        counted its salted hash, the others random.
    params: digest of the parameters after it. privacy: what the round's record says of the privacy spent, if anything.
    """

    kind: Literal["result"] = "result"
    run: RunId
    round: Count
    stood: bool
    cohort: list[Name]
    counted: list[Name]
    total: Hash | None = None
    sealed: Hash | None = None
    params: Hash
    privacy: JsonValue = None


class Head(_Strict):
    """How long the log is, and its Merkle root."""

    kind: Literal["head"] = "head"
    run: RunId
    size: Count
    root: Hash


class Counted(_Strict):
    """Whose updates are in the model of some rounds; no participants are named where rounds are sealed."""

    rounds: list[Count]
    participants: list[Name]


class Attestation(_Strict):
    """What every participant signs at the end.

    counted: of every round that stood, in whose sum it was; rounds of the same participants stand together.

    settings, inputs: as the run began. rounds: how many were played. params: digest of the last
    parameters. model: digest of the files of the model folder. figures: of rounds.jsonl and summary.json.
    guarantee: what summary.json says of the privacy guarantee. ledger: what the last round's record says
    of the privacy spent. Both are None if there is none. size, root: of the log.
    """

    kind: Literal["attestation"] = "attestation"
    run: RunId
    settings: Hash
    inputs: Hash
    rounds: Count
    counted: list[Counted]
    params: Hash
    model: Hash
    figures: Hash
    guarantee: JsonValue = None
    ledger: JsonValue = None
    size: Count
    root: Hash


class Rotation(_Strict):
    """One key takes the place of another, for the same name.

    number: how many changes this name's key had before.
    """

    kind: Literal["rotation"] = "rotation"
    name: Name
    number: Count
    old: Hash
    new: Hash


class Revocation(_Strict):
    """A key counts no more, and nothing takes its place."""

    kind: Literal["revocation"] = "revocation"
    name: Name
    number: Count
    key: Hash


Statement = (
    RunBegun
    | Requested
    | Updated
    | Evaluated
    | Masked
    | Summed
    | RoundResult
    | Head
    | Attestation
    | Rotation
    | Revocation
)
Model = TypeVar("Model", bound=BaseModel)


class Signed(_Strict):
    """A statement with one signature."""

    statement: Annotated[Statement, Field(discriminator="kind")]
    signer: Name
    signature: str

    def check(self, key: PublicKey) -> None:
        """Return if the signature is this key's.

        Raises: SignatureError if it is not.
        """
        check(self.statement, key, self.signature, self.signer)


def value_of(statement: BaseModel) -> dict[str, Any]:
    """Return the statement as plain values, for its canonical text."""
    return statement.model_dump(mode="json")


def sign(statement: Statement, identity: Identity, signer: str) -> Signed:
    """Return the statement with the identity's signature."""
    return Signed(statement=statement, signer=signer, signature=signature_of(statement, identity))


def signature_of(statement: Statement, identity: Identity) -> str:
    """Return the identity's signature over a statement."""
    return identity.sign(statement.kind, value_of(statement))


def check(statement: Statement, key: PublicKey, signature: str, signer: str) -> None:
    """Return if the signature is this key's over the statement.

    Raises: SignatureError if it is not.
    """
    key.check(statement.kind, value_of(statement), signature, signer)


def written(statement: BaseModel) -> bytes:
    """Return the statement's, or the signed statement's, canonical text: one line without its end."""
    return canonical(value_of(statement))


def read(kind: type[Model], text: bytes, what: str) -> Model:
    """Return what a canonical text says.

    what: what is being read, for the message.
    Raises: SignatureError unless the text is exactly how such a value is written.
    """
    if len(text) > MAX_BYTES:
        raise SignatureError(f"{what} has {len(text)} bytes; at most {MAX_BYTES} are read")
    try:
        found = kind.model_validate_json(text)
        again = written(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the text"
        raise SignatureError(f"{what} cannot be read: {place}: {first['msg']}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise SignatureError(f"{what} cannot be read ({type(error).__name__})") from None
    if again != text:
        raise SignatureError(f"{what} is not written in the one way that it may be: it was changed by something else")
    return found
