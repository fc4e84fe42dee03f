"""From the secure_sum section to the sums' both sides."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import assert_never

from foedus.config import sections
from foedus.config.ground import weight_bound
from foedus.config.narrow_sums import WHOLE, summed_bits
from foedus.core.entropy import Entropy
from foedus.core.errors import ConfigError, MissingExtra, SecureSumError, SignatureError
from foedus.engines.answer_journal import AnswerJournal
from foedus.federation.messages import ParticipantId, Sums
from foedus.federation.protocols import Algorithm
from foedus.privacy.encrypted_sum.cost import cost_of_ckks
from foedus.privacy.encrypted_sum.kind import Ckks
from foedus.privacy.encrypted_sum.parameters import choose
from foedus.privacy.encrypted_sum.seal import require_library
from foedus.privacy.secure_sum.contents import Scale
from foedus.privacy.secure_sum.cost import Cost, Load, cost_of_masks, cost_of_none
from foedus.privacy.secure_sum.embedding import SecureSide, SecureSums
from foedus.privacy.secure_sum.keys import Identities
from foedus.privacy.secure_sum.kinds import Masks, SumKind
from foedus.privacy.secure_sum.packing import Pack
from foedus.privacy.secure_sum.participant import ANSWERED_BEFORE, Member, RecordOnce
from foedus.privacy.secure_sum.terms import Rules
from foedus.privacy.signing.identity import Identity
from foedus.privacy.signing.pins import Pins, require
from foedus.privacy.threshold.cost import cost_of_threshold
from foedus.privacy.threshold.kind import Threshold
from foedus.privacy.threshold.parameters import MOST_PARTICIPANTS

FOLDER = "secure_sums"  # in the run's folder: what each participant has answered


def build_secure_sums(
    config: sections.RunConfig,
    algorithm: Algorithm,
    rows: Mapping[ParticipantId, int],
    statistics_like: Sums,
    *,
    pack: Pack | None = None,
    noise: Callable[[ParticipantId], Entropy] = lambda name: Entropy.secret(),
    signers: Mapping[ParticipantId, Identity] | None = None,
    run: str | None = None,
    some_measured: bool = False,
) -> tuple[SecureSums, Mapping[ParticipantId, SecureSide]] | None:
    """Return the sums and each participant's side; None if updates travel in the clear.

    rows: training rows by participant. statistics_like: names and shapes of evaluation statistics.
    pack: how updates become words, if not on the usual grid. noise: where each participant's own noise comes from.
    signers: everybody's identity, if the run is signed. Without it keys are made anew: in one process there is nobody
        to pin them against. run: its id, which no other run has; a key may sign in many.
    some_measured: as in `agreed_sums`.
    """
    if isinstance(config.secure_sum, sections.PlainSum):
        return None
    names = tuple(rows)
    identities = {name: Identity.create() if signers is None else signers[name] for name in names}
    sums = agreed_sums(
        config,
        algorithm,
        weight_bound(list(rows.values())),
        identities={name: key.public for name, key in identities.items()},
        statistics_like=statistics_like,
        pack=pack,
        run=run,
        some_measured=some_measured,
    )
    return sums, {
        name: secure_side(sums, name, identities[name], path, noise(name))
        for name, path in _journals(names, config.run_folder / FOLDER)
    }


def counting_sums(
    config: sections.RunConfig, algorithm: Algorithm, names: Sequence[ParticipantId]
) -> tuple[SecureSums, Mapping[ParticipantId, SecureSide]]:
    """Return the sums of counts before there is a model, and each participant's side.

    They have a name of their own each time, because a run that is resumed counts once more.
    """
    identities = {name: Identity.create() for name in names}
    public = {name: identity.public for name, identity in identities.items()}
    run = f"counts {secrets.token_hex(16)}"
    sums = agreed_sums(config, algorithm, 1, identities=public, statistics_like={}, run=run)
    sums = replace(sums, evaluation_rules=None, rules=replace(sums.rules, threshold=0))  # a round's, not of everybody
    return sums, {name: SecureSide(Member(name, identities[name], public, _remembering()), sums) for name in names}


def _remembering() -> RecordOnce:
    """Return what records answers for as long as this process lives."""
    seen: set[str] = set()

    def record(entries: Mapping[str, bytes]) -> None:
        if seen & entries.keys():
            raise SecureSumError(ANSWERED_BEFORE)
        seen.update(entries)

    return record


def agreed_sums(
    config: sections.RunConfig,
    algorithm: Algorithm,
    bound: int,
    *,
    identities: Identities,
    statistics_like: Sums,
    pack: Pack | None = None,
    run: str | None = None,
    some_measured: bool = False,
) -> SecureSums:
    """Return what all sides of a run agree on about its sums.

    bound: a power of two that no participant's number of rows exceeds. identities: everybody's pinned public keys.
    run: what tells the run from others; its name unless told. some_measured: whether not everybody is in evaluations.
    Raises: ConfigError if participants are to add noise, and nothing here does.
    """
    chosen = config.secure_sum
    if pack is None and adds_noise(config.privacy):
        raise ConfigError(
            "privacy.mechanism is distributed, and updates would be summed without the noise of their participants; "
            "this engine does not know how to add it yet, so run it on one machine"
        )
    assert not isinstance(chosen, sections.PlainSum), "there is nothing to agree on"
    rules, kind = build_rules(chosen), build_kind(chosen, len(identities))
    return SecureSums(
        task=config.task.kind,
        run=run or config.name,
        rules=rules,
        scale=build_scale(config, bound, len(identities), kind.value_bits),
        identities=identities,
        algorithm=algorithm,
        statistics_like=statistics_like,
        pack=pack,
        # a threshold is of a round's cohort; in an evaluation are all, or those who are compared
        evaluation_rules=None
        if isinstance(config.rounds.cohort, sections.All) and not some_measured
        else replace(rules, threshold=0),
        kind=kind,
    )


def build_scale(config: sections.RunConfig, bound: int, participants: int, value_bits: int = WHOLE) -> Scale:
    """Return how large what is summed may be. bound: as in `agreed_sums`.

    Raises: ConfigError if the sum of so many does not fit the bits that compression asks for.
    """
    chosen = config.secure_sum
    assert not isinstance(chosen, sections.PlainSum), "there is nothing to sum"
    largest_weight = chosen.max_weight or greatest_weight(config, bound)
    width = summed_bits(config, participants)
    return Scale(chosen.value_range, largest_weight, participants, value_bits, width)


def adds_noise(privacy: sections.Privacy) -> bool:
    """Return whether participants add noise to what they send to a secure sum."""
    return isinstance(privacy, sections.ParticipantPrivacy) and isinstance(privacy.mechanism, sections.Distributed)


def secure_side(sums: SecureSums, name: ParticipantId, identity: Identity, journal: Path, noise: Entropy) -> SecureSide:
    """Return a participant's side. journal: its file of what it has answered. noise: where its own comes from."""
    answered = AnswerJournal(journal)
    member = Member(name, identity, sums.identities, answered)
    return SecureSide(member, sums, noise=noise, refuse_answered=answered.refuse)


def pinned_keys(pins: Pins, names: Sequence[ParticipantId]) -> Identities:
    """Return everybody's pinned keys.

    Raises: SignatureError if somebody's is missing, or was revoked.
    """
    if missing := [name for name in names if name not in pins]:
        raise SignatureError(f"no key is pinned for {missing[0]}; a kit of this federation holds everybody's")
    for name in names:
        require(pins, name, pins[name].current)
    return {name: pins[name].current for name in names}


def build_kind(chosen: sections.Masks | sections.Ckks | sections.Threshold, participants: int) -> SumKind:
    """Return how the sums of so many are kept from being opened further.

    Raises: ConfigError if they are too many; MissingExtra.
    """
    match chosen:
        case sections.Masks():
            return Masks()
        case sections.Ckks():
            require_library()
            try:
                return Ckks(choose(participants))
            except SecureSumError as error:
                raise ConfigError(f"secure_sum.kind is ckks: {error}") from error
        case sections.Threshold():
            if participants > MOST_PARTICIPANTS:
                raise ConfigError(
                    f"secure_sum.kind is threshold, and there are {participants} participants; it is for at most "
                    f"{MOST_PARTICIPANTS}, each of which is sent the others' ciphertexts. Use masks"
                )
            return Threshold()
        case _:
            assert_never(chosen)


def costs_of_sums(config: sections.RunConfig, load: Load) -> Sequence[Cost]:
    """Return what each kind of secure_sum would cost in a round of this run.

    A kind that is not chosen has its default rules. With too few participants for it, it is left out, and so is
    one whose extra is not installed.
    """
    costs = [cost_of_none(load)]
    for kind in (sections.Masks, sections.Ckks, sections.Threshold):
        chosen = config.secure_sum if isinstance(config.secure_sum, kind) else kind()
        with suppress(SecureSumError, MissingExtra):
            costs.append(cost_of_sum(chosen, load))
    return costs


def cost_of_sum(chosen: sections.Masks | sections.Ckks | sections.Threshold, load: Load) -> Cost:
    """Return what this kind costs in a round.

    Raises: SecureSumError if it is not for so many participants; MissingExtra.
    """
    rules = build_rules(chosen)
    match chosen:
        case sections.Masks():
            return cost_of_masks(load, rules)
        case sections.Ckks():
            return cost_of_ckks(load, rules)
        case sections.Threshold():
            return cost_of_threshold(load, rules)
        case _:
            assert_never(chosen)


def build_rules(chosen: sections.HiddenSum) -> Rules:
    """Return what participants insist on."""
    return Rules(chosen.min_cohort, chosen.threshold or 0 if isinstance(chosen, sections.SurvivingSum) else 0)


def _journals(names: Sequence[ParticipantId], folder: Path) -> Sequence[tuple[ParticipantId, Path]]:
    """Return each participant's file; names may hold what a file's name may not, so files are counted."""
    return [(name, folder / f"{number:05d}.jsonl") for number, name in enumerate(names)]


def greatest_weight(config: sections.RunConfig, bound: int) -> float:
    """Return the most that any participant counts by, if the configuration leaves it out. bound: of its rows."""
    return 1.0 if config.strategy.weighting == "uniform" else float(bound)
