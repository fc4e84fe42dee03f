"""From the secure_sum section to the sums' both sides, for participants that share this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import assert_never

from foedus.config import sections
from foedus.core.entropy import Entropy
from foedus.core.errors import ConfigError, SecureSumError
from foedus.engines.answer_journal import AnswerJournal
from foedus.federation.messages import ParticipantId, Sums
from foedus.federation.protocols import Algorithm
from foedus.privacy.encrypted_sum.kind import Ckks
from foedus.privacy.encrypted_sum.parameters import choose
from foedus.privacy.encrypted_sum.seal import require_library
from foedus.privacy.secure_sum.contents import Scale
from foedus.privacy.secure_sum.cost import Cost, Load, cost_of_masks, cost_of_none
from foedus.privacy.secure_sum.embedding import SecureSide, SecureSums
from foedus.privacy.secure_sum.kinds import Masks, SumKind
from foedus.privacy.secure_sum.packing import Pack
from foedus.privacy.secure_sum.participant import Member
from foedus.privacy.secure_sum.terms import Rules
from foedus.privacy.signing.identity import Identity

FOLDER = "secure_sums"  # in the run's folder: what each participant has answered


def build_secure_sums(
    config: sections.RunConfig,
    algorithm: Algorithm,
    rows: Mapping[ParticipantId, int],
    statistics_like: Sums,
    *,
    pack: Pack | None = None,
    noise: Callable[[ParticipantId], Entropy] = lambda name: Entropy.secret(),
) -> tuple[SecureSums, Mapping[ParticipantId, SecureSide]] | None:
    """Return the sums and each participant's side; None if updates travel in the clear.

    rows: training rows by participant. statistics_like: names and shapes of evaluation statistics.
    pack: how updates become words, if not on the usual grid. noise: where each participant's own noise comes from.
    Identity keys are made anew: in one process there is nobody to pin them against.
    """
    chosen = config.secure_sum
    if isinstance(chosen, sections.PlainSum):
        return None
    names, rules = tuple(rows), build_rules(chosen)
    identities = {name: Identity.create() for name in names}
    kind = build_kind(chosen, len(names))
    largest_weight = chosen.max_weight or greatest_weight(config, rows)
    sums = SecureSums(
        task=config.task.kind,
        run=config.name,
        rules=rules,
        scale=Scale(chosen.value_range, largest_weight, len(names), kind.value_bits),
        identities={name: key.public for name, key in identities.items()},
        algorithm=algorithm,
        statistics_like=statistics_like,
        pack=pack,
        # a threshold is of a round's cohort; all are in an evaluation
        evaluation_rules=None if isinstance(config.rounds.cohort, sections.All) else replace(rules, threshold=0),
        kind=kind,
    )
    journals = {name: AnswerJournal(path) for name, path in _journals(names, config.run_folder / FOLDER)}
    return sums, {
        name: SecureSide(
            Member(name, identities[name], sums.identities, journal),
            sums,
            noise=noise(name),
            refuse_answered=journal.refuse,
        )
        for name, journal in journals.items()
    }


def build_kind(chosen: sections.Masks | sections.Ckks, participants: int) -> SumKind:
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
        case _:
            assert_never(chosen)


def costs_of_sums(config: sections.RunConfig, load: Load) -> Sequence[Cost]:
    """Return what each kind of secure_sum would cost in a round of this run.

    A kind that is not chosen has its default rules. With too few participants for it, it is left out.
    """
    chosen = config.secure_sum
    masks = chosen if isinstance(chosen, sections.Masks) else sections.Masks()
    costs = [cost_of_none(load)]
    with suppress(SecureSumError):
        costs.append(cost_of_masks(load, build_rules(masks)))
    return costs


def build_rules(chosen: sections.HiddenSum) -> Rules:
    """Return what participants insist on."""
    return Rules(chosen.min_cohort, chosen.threshold or 0)


def _journals(names: Sequence[ParticipantId], folder: Path) -> Sequence[tuple[ParticipantId, Path]]:
    """Return each participant's file; names may hold what a file's name may not, so files are counted."""
    return [(name, folder / f"{number:05d}.jsonl") for number, name in enumerate(names)]


def greatest_weight(config: sections.RunConfig, rows: Mapping[ParticipantId, int]) -> float:
    """Return the most that any participant counts by, if the configuration leaves it out."""
    if config.strategy.weighting == "uniform":
        return 1.0
    return float(1 << (max([1, *rows.values()]) - 1).bit_length())
