"""From the parts of a configuration to the parts of a federation. Nothing is read or trained here."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from foedus.config import sections
from foedus.federation import sampling
from foedus.federation.protocols import Algorithm
from foedus.federation.round import RoundPlan
from foedus.strategies import (
    custom,
    fedavg,
    fedavgm,
    feddyn,
    fedexp,
    fednova,
    fedopt,
    fedprox,
    scaffold,
)
from foedus.training.settings import LocalSettings


def build_algorithm(config: sections.RunConfig) -> Algorithm:
    """Return both halves of the strategy that the configuration names."""
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
        case sections.Custom():
            return custom.load_algorithm(config.locate(chosen.path), chosen.options)
        case _:
            assert_never(chosen)


def build_sampler(cohort: sections.Cohort) -> sampling.Sampler:
    """Return who chooses the cohorts."""
    match cohort:
        case sections.All():
            return sampling.Everyone()
        case sections.Fixed():
            return sampling.FixedSize(cohort.size)
        case sections.Poisson():
            return sampling.Poisson(cohort.rate)
        case _:
            assert_never(cohort)


def build_plan(config: sections.RunConfig) -> RoundPlan:
    """Return how rounds are played."""
    return RoundPlan(
        rounds=config.rounds.count,
        min_reports=config.rounds.min_reports,
        evaluate_every=config.evaluation.every,
        split=config.evaluation.split,
        per_site=config.evaluation.per_site,
    )


def build_local_settings(config: sections.RunConfig) -> LocalSettings:
    """Return how participants train."""
    local = config.local
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
        keep_optimizer=local.keep_optimizer,
        group_by_length=local.group_by_length,
        weighting=config.strategy.weighting,
        evaluation_batch_size=config.evaluation.batch_size,
    )
    match local.optimizer:
        case sections.AdamW() as adamw:
            return replace(common, betas=adamw.betas, epsilon=adamw.epsilon)
        case sections.SGD() as sgd:
            return replace(common, momentum=sgd.momentum)
        case _:
            assert_never(local.optimizer)
