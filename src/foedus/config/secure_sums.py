"""From the secure_sum section to the sums' both sides, for participants that share this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from foedus.config import sections
from foedus.engines.answer_journal import AnswerJournal
from foedus.federation.messages import ParticipantId, Sums
from foedus.federation.protocols import Algorithm
from foedus.privacy.secure_sum.contents import Scale
from foedus.privacy.secure_sum.embedding import SecureSide, SecureSums
from foedus.privacy.secure_sum.participant import Member
from foedus.privacy.secure_sum.terms import Rules
from foedus.privacy.signing.identity import Identity

FOLDER = "secure_sums"  # in the run's folder: what each participant has answered


def build_secure_sums(
    config: sections.RunConfig, algorithm: Algorithm, rows: Mapping[ParticipantId, int], statistics_like: Sums
) -> tuple[SecureSums, Mapping[ParticipantId, SecureSide]] | None:
    """Return the sums and each participant's side; None if updates travel in the clear.

    rows: training rows by participant. statistics_like: names and shapes of evaluation statistics.
    Identity keys are made anew: in one process there is nobody to pin them against.
    """
    chosen = config.secure_sum
    if not isinstance(chosen, sections.Masks):
        return None
    names = tuple(rows)
    identities = {name: Identity.create() for name in names}
    sums = SecureSums(
        task=config.task.kind,
        run=config.name,
        rules=Rules(chosen.min_cohort, chosen.threshold or 0),
        scale=Scale(chosen.value_range, chosen.max_weight or greatest_weight(config, rows), len(names)),
        identities={name: key.public for name, key in identities.items()},
        algorithm=algorithm,
        statistics_like=statistics_like,
    )
    return sums, {
        name: SecureSide(Member(name, identities[name], sums.identities, AnswerJournal(path)), sums)
        for name, path in _journals(names, config.run_folder / FOLDER)
    }


def _journals(names: Sequence[ParticipantId], folder: Path) -> Sequence[tuple[ParticipantId, Path]]:
    """Return each participant's file; names may hold what a file's name may not, so files are counted."""
    return [(name, folder / f"{number:05d}.jsonl") for number, name in enumerate(names)]


def greatest_weight(config: sections.RunConfig, rows: Mapping[ParticipantId, int]) -> float:
    """Return the most that any participant counts by, if the configuration leaves it out."""
    if config.strategy.weighting == "uniform":
        return 1.0
    return float(1 << (max([1, *rows.values()]) - 1).bit_length())
