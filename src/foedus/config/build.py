"""From the parts of a configuration to the parts of a federation. Nothing is read or trained here."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from foedus.compression import blocks, feedback, half, sparse_chunks, top_k
from foedus.compression.encoding import Codec
from foedus.config import sections
from foedus.core.seeds import SeedKey
from foedus.core.trees import ParamTree
from foedus.federation import sampling
from foedus.federation.protocols import Algorithm
from foedus.federation.round import RoundPlan
from foedus.strategies import (
    custom,
    diloco,
    fedavg,
    fedavgm,
    feddyn,
    fedexp,
    fednova,
    fedopt,
    fedprox,
    scaffold,
    streaming_diloco,
)
from foedus.training.settings import LocalSettings


def build_algorithm(config: sections.RunConfig, optimizer_like: ParamTree) -> Algorithm:
    """Return both halves of the strategy that the configuration names.

    optimizer_like: names and shapes of the participants' optimizer state, for strategies that send it.
    """
    return compress(_build_strategy(config, optimizer_like), plain_compression(config))


def plain_compression(config: sections.RunConfig) -> sections.Compression:
    """Return how what is sent is compressed by itself; under secure_sum uploads are not: their words are narrower."""
    if isinstance(config.secure_sum, sections.PlainSum):
        return config.compression
    return sections.Uncompressed(broadcast=config.compression.broadcast)


def compress(algorithm: Algorithm, compression: sections.Compression) -> Algorithm:
    """Return the strategy with what is sent compressed as the configuration says.

    Raises: ConfigError if the strategy's updates cannot be.
    """
    codec = _build_codec(compression)
    if codec is not None and not isinstance(compression, sections.Uncompressed):
        decay = compression.decay if isinstance(compression, sections.SparseLoCo) else 1.0
        algorithm = feedback.compressed(algorithm, codec, error_feedback=compression.error_feedback, decay=decay)
    match compression.broadcast:
        case "none":
            return algorithm
        case "fp16":
            return feedback.with_compressed_broadcast(algorithm, half.half)
        case "int8":
            return feedback.with_compressed_broadcast(algorithm, blocks.int8)


def _build_codec(compression: sections.Compression) -> Codec | None:
    match compression:
        case sections.Uncompressed():
            return None
        case sections.Fp16():
            return half.half
        case sections.Int8():
            return blocks.int8
        case sections.Int4():
            return blocks.int4
        case sections.TopK():
            return top_k.top_k(compression.fraction)
        case sections.SparseLoCo():
            return sparse_chunks.sparse_chunks(compression.fraction)
        case _:
            assert_never(compression)


def _build_strategy(config: sections.RunConfig, optimizer_like: ParamTree) -> Algorithm:  # noqa: PLR0912 - one a strategy
    chosen = config.strategy
    match chosen:
        case sections.FedAvg():
            return fedavg.fedavg(chosen.server_learning_rate)
        case sections.FedProx():
            return fedprox.fedprox(chosen.mu, decoupled=chosen.decoupled)
        case sections.FedAvgM():
            return fedavgm.fedavgm(chosen.momentum, chosen.server_learning_rate)
        case sections.FedAdam():
            return fedopt.fedadam(chosen.server_learning_rate, chosen.beta1, chosen.beta2, chosen.tau)
        case sections.FedYogi():
            return fedopt.fedyogi(chosen.server_learning_rate, chosen.beta1, chosen.beta2, chosen.tau)
        case sections.FedAdagrad():
            return fedopt.fedadagrad(chosen.server_learning_rate, chosen.beta1, chosen.tau)
        case sections.Scaffold():
            return scaffold.scaffold(chosen.option, chosen.server_learning_rate)
        case sections.FedNova():
            optimizer = config.local.optimizer
            momentum = optimizer.momentum if isinstance(optimizer, sections.SGD) else 0.0
            return fednova.fednova(momentum, chosen.server_learning_rate)
        case sections.FedDyn():
            return feddyn.feddyn(chosen.alpha)
        case sections.FedExP():
            return fedexp.fedexp(chosen.epsilon)
        case sections.DiLoCo():
            return _build_diloco(chosen, "params" if sends_params(config) else "delta", optimizer_like)
        case sections.Custom():
            return custom.load_algorithm(config.locate(chosen.path), chosen.options)
        case _:
            assert_never(chosen)


def sends_params(config: sections.RunConfig) -> bool:
    """Return whether DiLoCo's participants may send what they trained, rather than how far it went."""
    plain = config.compression == sections.Uncompressed()
    plain = plain and isinstance(config.secure_sum, sections.PlainSum)
    return plain and not isinstance(config.privacy, sections.ParticipantPrivacy)


def _build_diloco(chosen: sections.DiLoCo, upload: diloco.Upload, optimizer_like: ParamTree) -> Algorithm:
    assert chosen.momentum is not None, "a resolved configuration has it"
    if (streaming := chosen.streaming) is None:
        return diloco.diloco(
            chosen.momentum,
            chosen.server_learning_rate,
            inner_state=chosen.inner_state,
            optimizer_like=lambda params: optimizer_like,
            upload=upload,
        )
    assert chosen.inner_state != "average", "refused as a problem"
    return streaming_diloco.streaming_diloco(
        streaming.fragments,
        streaming.overlap,
        streaming.mixing,
        momentum=chosen.momentum,
        server_learning_rate=chosen.server_learning_rate,
        inner_state=chosen.inner_state,
        upload=upload,
    )


def build_sampler(cohort: sections.Cohort, turns: SeedKey) -> sampling.Sampler:
    """Return who chooses the cohorts. turns: what cyclic groups follow from."""
    match cohort:
        case sections.All():
            return sampling.Everyone()
        case sections.Fixed():
            return sampling.FixedSize(cohort.size)
        case sections.Poisson():
            return sampling.Poisson(cohort.rate)
        case sections.Cyclic():
            return sampling.Cyclic(cohort.separation, turns)
        case _:
            assert_never(cohort)


def build_plan(config: sections.RunConfig) -> RoundPlan:
    """Return how rounds are played."""
    return RoundPlan(
        rounds=config.rounds.count,
        min_reports=config.rounds.min_reports,
        evaluate_every=config.evaluation.every,
        tell_evaluation=not hides_evaluation(config.privacy),
        split=config.evaluation.split,
        per_site=config.evaluation.per_site,
        joins=config.rounds.joins,
        leaves=config.rounds.leaves,
    )


def hides_evaluation(privacy: sections.Privacy) -> bool:
    """Return whether figures on held-out rows stay at the participants."""
    return not isinstance(privacy, sections.NoPrivacy) and privacy.evaluation == "off"


def build_local_settings(config: sections.RunConfig) -> LocalSettings:
    """Return how participants train."""
    local = config.local
    sends_optimizer = isinstance(config.strategy, sections.DiLoCo) and config.strategy.inner_state == "average"
    common = LocalSettings(
        learning_rate=local.learning_rate,
        batch_size=local.batch_size,
        epochs=local.epochs,
        steps=local.steps,
        accumulation=local.accumulation,
        optimizer=local.optimizer.kind,
        weight_decay=local.optimizer.weight_decay,
        schedule=local.schedule.kind,
        warmup=local.schedule.warmup,
        gradient_clip=local.gradient_clip,
        precision=local.precision,
        keep_optimizer=local.keep_optimizer or sends_optimizer,
        group_by_length=local.group_by_length,
        weighting=config.strategy.weighting,
        evaluation_batch_size=config.evaluation.batch_size,
    )
    match local.optimizer:
        case sections.AdamW() as adamw:
            return replace(common, betas=adamw.betas, epsilon=adamw.epsilon)
        case sections.SGD() as sgd:
            return replace(common, momentum=sgd.momentum)
        case sections.Muon() as muon:
            return replace(common, momentum=muon.momentum, betas=muon.betas, epsilon=muon.epsilon)
        case _:
            assert_never(local.optimizer)
