"""What does not go with differential privacy, each with its reason: nothing is switched off silently."""

from __future__ import annotations

from collections.abc import Iterator

from foedus.config import sections
from foedus.config.sections import RunConfig

Private = sections.RecordPrivacy | sections.ParticipantPrivacy


def private_problems(config: RunConfig) -> Iterator[str]:
    """Yield everything that the privacy section and the rest contradict each other in."""
    privacy = config.privacy
    cohort = config.rounds.cohort
    if isinstance(cohort, sections.Poisson) and cohort.cap is not None and privacy.kind != "participants":
        yield "rounds.cohort.cap: is for cohorts that hide their participants (privacy: participants); leave it out"
    if isinstance(privacy, sections.NoPrivacy):
        return
    if (privacy.epsilon is None) == (privacy.noise_multiplier is None):
        given = "both" if privacy.epsilon is not None else "neither"
        yield f"privacy: {given} of epsilon and noise_multiplier are given; give one, and the other follows from it"
    yield from _exact_figures(config, privacy)
    if config.local.seconds is not None:
        yield (
            "local.seconds: how many steps fit into it is seen as the run goes, and tells of the rows; what privacy "
            "costs is counted before the first round, from a number of steps; use local.steps or epochs"
        )
    match privacy:
        case sections.RecordPrivacy():
            yield from _records(config, privacy)
        case sections.ParticipantPrivacy():
            yield from _participants(config, privacy)


def _exact_figures(config: RunConfig, privacy: Private) -> Iterator[str]:
    """Yield what would leave a participant beside the noisy update."""
    if config.evaluation.per_site:
        yield "evaluation.per_site: shows exact figures of single participants, which no noise covers; set it to false"
    told = isinstance(config.participants, sections.Files | sections.Partition)
    if isinstance(config.task, sections.TextClassification) and config.task.labels is None and told:
        yield "task.labels: left out, they are gathered from private rows, and a rare one tells of its row; list them"
    if isinstance(config.model, sections.Architecture) and isinstance(config.model.tokenizer, sections.BPE):
        yield (
            "model.tokenizer: bpe is learnt from exact counts of private text, which no noise covers; use bytes, or a "
            "tokenizer that there is already"
        )
    public = isinstance(privacy, sections.RecordPrivacy) and privacy.sizes == "public"
    if config.strategy.weighting != "uniform" and not public:
        way = ", or privacy.sizes: public if how many rows each has is no secret" if privacy.kind == "records" else ""
        yield (f"strategy.weighting: is {config.strategy.weighting}, an exact count of private rows; use uniform{way}")


def _records(config: RunConfig, privacy: sections.RecordPrivacy) -> Iterator[str]:
    if privacy.person_at == "several_participants" and privacy.epsilon is not None:
        yield (
            f"privacy.epsilon: is {privacy.epsilon:g}, to which each participant keeps by itself; what several spend "
            "on one person adds up to more. Give noise_multiplier; foedus privacy plan says what it comes to"
        )
    task, local, strategy = config.task, config.local, config.strategy
    packing = isinstance(task, sections.CausalLM | sections.MaskedLM) and task.packing
    if packing and privacy.record == "row":
        yield (
            "privacy.record: is row, but task.packing puts several rows into one example, whose gradient is clipped as "
            "one; set task.packing to false, or privacy.record to block, which does not protect a row that spans blocks"
        )
    if privacy.record == "block" and not packing:
        yield "privacy.record: is block, but nothing is packed into blocks here; use row"
    if local.gradient_clip is not None:
        yield (
            f"local.gradient_clip: is {local.gradient_clip:g}; it would shrink noise and gradient together, and each "
            "record's gradient is clipped to privacy.clip_norm already; leave it out"
        )
    if local.group_by_length:
        yield "local.group_by_length: private batches are drawn by coins, record by record; leave it out"
    if isinstance(strategy, sections.Scaffold) and strategy.option == 1:
        yield (
            "strategy.option: scaffold's option 1 sends a gradient over all rows, which no noise covers; use option 2, "
            "whose control variates follow from private steps"
        )


def _participants(config: RunConfig, privacy: sections.ParticipantPrivacy) -> Iterator[str]:
    if isinstance(privacy.mechanism, sections.Distributed):
        yield from _distributed(config, privacy)
    else:
        yield from _hidden_cohorts(config, privacy)
    if config.compression != sections.Uncompressed() and config.compression.kind != "none":
        yield (
            f"compression: {config.compression.kind} changes how long an upload is after it was clipped; use "
            "compression none, or broadcast alone"
        )
    if isinstance(config.strategy, sections.DiLoCo) and config.strategy.streaming is not None:
        yield (
            "strategy.streaming: sends those who were in the last round something else than the others, so that it "
            "tells who was, and its rounds do not release the same parameters; use diloco without streaming"
        )
    if config.rounds.joins or config.rounds.leaves:
        yield (
            "rounds.joins: noise and cohorts are planned for the same participants in every round; leave joins and "
            "leaves out"
        )


def _distributed(config: RunConfig, privacy: sections.ParticipantPrivacy) -> Iterator[str]:
    """Yield what keeps participants from adding the noise themselves."""
    if not isinstance(config.secure_sum, sections.Masks):
        yield (
            f"secure_sum: is {config.secure_sum.kind}, but privacy.mechanism distributed gives each upload a share of "
            "the noise alone, too little to be seen by itself, and is made for sums modulo a power of 2; use "
            "secure_sum: masks"
        )
    if isinstance(privacy.clip, sections.AdaptiveClip):
        yield (
            "privacy.clip: adaptive does not go with privacy.mechanism distributed, whose grid is planned for one clip "
            "norm in all rounds; use {kind: fixed, norm: …}"
        )
    if config.rounds.min_reports < 1:
        yield (
            "rounds.min_reports: is 0, but with privacy.mechanism distributed a round without a sum releases nothing; "
            "leave it out"
        )
    if isinstance(config.rounds.cohort, sections.Poisson):
        yield (
            "rounds.cohort: is poisson; with privacy.mechanism distributed all see who takes part, so that coins "
            "would hide nobody, and a sum that came out small would not stand; use all, {kind: fixed, size: …}, or "
            "{kind: cyclic, separation: …}, in which each participant takes part seldom"
        )


def _hidden_cohorts(config: RunConfig, privacy: sections.ParticipantPrivacy) -> Iterator[str]:
    """Yield what keeps a round from hiding who took part."""
    cohort = config.rounds.cohort
    match privacy.mechanism:
        case sections.Cohorts() if not isinstance(cohort, sections.Poisson):
            yield (
                f"rounds.cohort: is {cohort.kind}; privacy.mechanism cohorts counts on cohorts drawn by independent "
                "secret coins; use {kind: poisson, rate: …}, or privacy.mechanism stream with cohort cyclic"
            )
        case sections.Stream(band=band) if isinstance(cohort, sections.Cyclic):
            if band is not None and band > cohort.separation:
                yield (
                    f"privacy.mechanism.band: is {band}; noise shared over more rounds than lie between two of a "
                    f"participant's ({cohort.separation}, rounds.cohort.separation) costs more than it saves; use at "
                    "most that"
                )
        case sections.Stream():
            yield (
                f"rounds.cohort: is {cohort.kind}; privacy.mechanism stream counts on a number of rounds between two "
                "of a participant's; use {kind: cyclic, separation: …}"
            )
    if isinstance(privacy.mechanism, sections.Stream) and isinstance(privacy.clip, sections.AdaptiveClip):
        yield (
            "privacy.clip: adaptive does not go with privacy.mechanism stream, whose noise is planned for one clip "
            "norm in all rounds; use {kind: fixed, norm: …}"
        )
    if config.rounds.min_reports > 0:
        yield (
            f"rounds.min_reports: is {config.rounds.min_reports}; whether enough came would tell who did, so that an "
            "empty cohort releases noise too; leave it out"
        )
