"""What does not go with secure sums, each with its reason: nothing leaves in the clear that was to be summed."""

from __future__ import annotations

from collections.abc import Iterator

from foedus.config import sections
from foedus.config.sections import RunConfig


def _compression(config: RunConfig) -> Iterator[str]:
    """Yield what cannot be summed: words of one grid can, of one width for all."""
    match config.compression:
        case sections.TopK() | sections.SparseLoCo():
            yield (
                f"compression: {config.compression.kind} sends other places of each participant's update, "
                "which tell much of it; a sum hides only what everybody sends at the same places; use int8 or int4"
            )
        case sections.Fp16():
            yield (
                "compression: fp16 are floating-point numbers, and a secure sum adds integers; use int8, which takes "
                "as many bytes in a sum"
            )
        case sections.Int8() | sections.Int4() if not isinstance(config.secure_sum, sections.Masks):
            yield (
                f"compression: is {config.compression.kind}, but {config.secure_sum.kind} packs values by itself; use "
                "none, or secure_sum: masks"
            )
        case sections.Int8() | sections.Int4() if isinstance(config.privacy, sections.ParticipantPrivacy):
            yield (
                f"compression: is {config.compression.kind}, but the bits of an upload that gets its own noise are "
                "privacy.mechanism.bits; use none"
            )


def hides_cohorts(privacy: sections.Privacy) -> bool:
    """Return whether epsilon counts on nobody knowing who took part in a round."""
    return isinstance(privacy, sections.ParticipantPrivacy) and not isinstance(privacy.mechanism, sections.Distributed)


def secure_problems(config: RunConfig) -> Iterator[str]:
    """Yield everything that the secure_sum section and the rest contradict each other in."""
    chosen = config.secure_sum
    if isinstance(chosen, sections.PlainSum):
        return
    if isinstance(chosen, sections.Threshold) and not chosen.accept_unreviewed:
        yield (
            "secure_sum.accept_unreviewed: is false, and secure_sum: threshold is experimental: nobody outside has "
            "reviewed it; use masks, or set it to true"
        )
    if isinstance(chosen, sections.Threshold) and isinstance(config.signatures, sections.Ed25519):
        yield (
            "signatures: cannot log what secure_sum: threshold sends, so that foedus verify could not check it later; "
            "use none, or secure_sum: masks"
        )
    if config.evaluation.per_site:
        yield (
            "evaluation.per_site: shows single participants' figures, and under secure_sum nobody but themselves has "
            "these; set it to false"
        )
    if hides_cohorts(config.privacy):
        yield (
            f"secure_sum: {chosen.kind} shows every participant who else takes part, and privacy: participants counts "
            "on nobody knowing; use privacy.mechanism distributed, privacy: records, or secure_sum: none"
        )
    yield from _compression(config)
    if isinstance(config.strategy, sections.DiLoCo) and config.strategy.streaming is not None:
        yield (
            "strategy.streaming: sends each participant what it lacks, and under secure_sum all of them sign that they "
            "were sent the same; leave it out"
        )
    learns = isinstance(config.model, sections.Architecture) and isinstance(config.model.tokenizer, sections.BPE)
    if learns and not isinstance(chosen, sections.Masks):
        yield (
            f"model.tokenizer: bpe is learnt from many sums of long vectors of counts, which {chosen.kind} is too slow "
            "for; use secure_sum: masks, bytes, or a tokenizer that there is already"
        )
    private = not isinstance(config.privacy, sections.NoPrivacy)
    if private and config.strategy.weighting in ("tokens", "tokens_seen") and chosen.max_weight is None:
        yield (
            f"secure_sum.max_weight: is needed with strategy.weighting {config.strategy.weighting}: the most tokens "
            "that a participant may count by; where records are hidden, no dry round finds it"
        )
    cohort = config.rounds.cohort
    if isinstance(cohort, sections.Fixed) and cohort.size < chosen.min_cohort:
        yield (
            f"rounds.cohort.size: is {cohort.size}, and secure_sum.min_cohort is {chosen.min_cohort}: no round would "
            "stand; choose a larger cohort"
        )
