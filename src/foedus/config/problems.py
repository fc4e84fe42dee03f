"""What is wrong with a configuration as a whole: combinations that cannot work, each with its reason.

Only what the configuration alone tells; whether columns, labels and sizes fit the data is seen when it is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from foedus.config import sections
from foedus.config.private_problems import private_problems
from foedus.config.sections import RunConfig
from foedus.config.secure_problems import secure_problems
from foedus.core.errors import ConfigError


def problems(config: RunConfig) -> list[str]:
    """Return everything that is wrong, a sentence each, beginning with the place in the YAML file."""
    checks = (
        _task_and_model,
        _participants,
        _strategy,
        _diloco,
        _muon,
        _compression,
        _local,
        _rounds,
        _evaluation,
        private_problems,
        secure_problems,
    )
    return [problem for check in checks for problem in check(config)]


def refuse_problems(config: RunConfig) -> None:
    """Check that nothing is wrong.

    Raises: ConfigError with every problem, one a line.
    """
    if found := problems(config):
        raise ConfigError("\n".join(found))


def _task_and_model(config: RunConfig) -> Iterator[str]:
    model, task = config.model, config.task
    if isinstance(model.tuning, sections.Head) and not isinstance(task, sections.TextClassification):
        yield (
            f"model.tuning: head trains the layer that a task puts on a model, and {task.kind} puts none: a language "
            "model's last layer is its vocabulary; use lora or full"
        )
    if isinstance(model, sections.Architecture) and not isinstance(model.tuning, sections.Full):
        yield (
            f"model.tuning: {model.tuning.kind} leaves most weights as they are, and these are random in a model "
            "from scratch; use full"
        )
    if config.output.merge_adapter and not isinstance(model.tuning, sections.Lora):
        yield f"output.merge_adapter: there is no adapter to merge with model.tuning {model.tuning.kind}; remove it"


def _participants(config: RunConfig) -> Iterator[str]:
    participants = config.participants
    if isinstance(participants, sections.Scenario):
        yield from _columns_of_the_scenario(participants.scenario, config.task)
        if isinstance(plays := participants.scenario, sections.Plays) and plays.validation + plays.test >= 1:
            yield (
                f"participants.scenario: validation {plays.validation:g} and test {plays.test:g} leave no speeches to "
                "train on; they must sum to less than 1"
            )
        return
    split = participants.split
    if split.validation + split.test >= 1:
        yield (
            f"participants.split: validation {split.validation:g} and test {split.test:g} leave no rows to train on; "
            "they must sum to less than 1"
        )
    for name in ("validation", "test"):
        if getattr(participants, name) is not None and getattr(split, name) > 0:
            yield (f"participants.split.{name}: participants.{name} gives files of their own; remove one of the two")
    if isinstance(participants, sections.Files):
        yield from _unknown_participants(participants)
    elif isinstance(config.task, sections.TextClassification):
        return
    elif isinstance(participants.into, sections.Dirichlet | sections.Shards):
        yield (
            f"participants.into: {participants.into.kind} deals rows out by their class, and {config.task.kind} has "
            "none; use column, iid or sizes"
        )


def _columns_of_the_scenario(scenario: sections.Clinics | sections.Plays, task: sections.Task) -> Iterator[str]:
    match task, scenario:
        case ((sections.CausalLM(text="text") | sections.MaskedLM(text="text")), _):
            return
        case sections.TextClassification(text=("text",), label="label"), sections.Clinics():
            return
    classes = ", and classes in the column label" if isinstance(scenario, sections.Clinics) else ", and no classes"
    yield f"task: the scenario {scenario.kind} has texts in the column text{classes}"


def _unknown_participants(files: sections.Files) -> Iterator[str]:
    for name in ("validation", "test"):
        given = getattr(files, name)
        if isinstance(given, Mapping) and isinstance(files.train, Mapping) and (extra := given.keys() - files.train):
            yield f"participants.{name}: {', '.join(sorted(extra))} has no file in participants.train"


def _strategy(config: RunConfig) -> Iterator[str]:
    strategy, optimizer = config.strategy, config.local.optimizer
    if strategy.weighting in ("tokens", "tokens_seen") and isinstance(config.task, sections.TextClassification):
        yield (
            f"strategy.weighting: {strategy.weighting} suits language models, whose loss is a mean over tokens; a "
            "classifier's is a mean over examples; use examples or uniform"
        )
    match strategy, optimizer:
        case sections.Scaffold(), sections.AdamW() | sections.Muon():
            yield (
                "strategy: scaffold needs local.optimizer sgd without momentum: it takes the distance gone, divided by "
                f"the step sizes, for a gradient (Karimireddy et al. 2020), and under {optimizer.kind} that is none; "
                f"use sgd, or fedprox with {optimizer.kind}"
            )
        case sections.Scaffold(), sections.SGD(momentum=momentum) if momentum > 0:
            yield (
                f"local.optimizer.momentum: is {momentum:g}; scaffold needs 0: it takes the distance gone, divided by "
                "the step sizes, for a gradient (Karimireddy et al. 2020), and momentum goes further"
            )
        case sections.FedNova(), sections.SGD(momentum=momentum) if momentum > 0 and config.local.keep_optimizer:
            yield (
                "local.keep_optimizer: fednova's normalisation takes momentum to start from rest in every round; "
                "set it to false, or momentum to 0"
            )
        case sections.FedNova(adaptive_heuristic=False), sections.AdamW() | sections.Muon():
            yield (
                f"strategy: fednova normalises updates by a closed form that sgd has and {optimizer.kind} has not; use "
                "sgd, or set strategy.adaptive_heuristic: true to divide by the number of steps, which is a heuristic"
            )
    if isinstance(strategy, sections.Scaffold) and strategy.option == 1 and config.local.gradient_clip is not None:
        yield (
            f"local.gradient_clip: is {config.local.gradient_clip:g}; scaffold's option 1 takes whole gradients as "
            "control variates, which clipped steps would not fit; set it to null, or use option 2"
        )
    match strategy:
        case sections.Scaffold(weighting=weighting) if weighting != "uniform":
            yield _uniform_only(strategy, "its control variates are plain means")
        case sections.FedDyn(weighting=weighting) if weighting != "uniform":
            yield _uniform_only(strategy, "its regularisers cancel in the plain mean alone")


def _uniform_only(strategy: sections.Strategy, reason: str) -> str:
    return (
        f"strategy.weighting: is {strategy.weighting}; {strategy.kind} needs uniform: {reason}, so that a weighted "
        "average would not come to rest at the optimum"
    )


def _diloco(config: RunConfig) -> Iterator[str]:
    strategy = config.strategy
    if not isinstance(strategy, sections.DiLoCo):
        return
    if config.local.keep_optimizer != (strategy.inner_state == "keep"):
        yield (
            f"local.keep_optimizer: is {str(config.local.keep_optimizer).lower()}, but strategy.inner_state is "
            f"{strategy.inner_state}; with diloco the latter decides, so remove local.keep_optimizer"
        )
    if strategy.streaming is not None:
        yield from _streaming(config, strategy, strategy.streaming)


def _streaming(config: RunConfig, strategy: sections.DiLoCo, streaming: sections.Streaming) -> Iterator[str]:
    if strategy.inner_state == "average":
        yield (
            "strategy.inner_state: average sends the whole optimizer's state, and strategy.streaming a fragment of the "
            "model; use keep or reset"
        )
    steps = config.local.steps if config.local.seconds is None else None
    if steps is not None and streaming.overlap > steps:
        yield (
            f"strategy.streaming.overlap: is {streaming.overlap}, but a round has {steps} steps (local.steps); what "
            "one round sends has to be mixed in before the next one sends, so use fewer"
        )
    if streaming.fragments > config.rounds.count:
        yield (
            f"strategy.streaming.fragments: is {streaming.fragments}, but with {config.rounds.count} rounds "
            "(rounds.count) some would never be sent; use fewer, or more rounds"
        )


def _muon(config: RunConfig) -> Iterator[str]:
    tuning = config.model.tuning
    if isinstance(config.local.optimizer, sections.Muon) and not isinstance(tuning, sections.Full):
        yield (
            f"local.optimizer: muon orthogonalises the steps of whole hidden matrices, and model.tuning {tuning.kind} "
            "trains none of these; use adamw, or model.tuning full"
        )


def _compression(config: RunConfig) -> Iterator[str]:
    if config.compression == sections.Uncompressed():
        return
    kind = "broadcast" if isinstance(config.compression, sections.Uncompressed) else config.compression.kind
    reasons = {
        "scaffold": "its control variates have to be those of the updates received",
        "feddyn": "participant and coordinator add up the same updates, and would add up different ones",
        "fednova": "its updates are divided by each round's own steps, so that what one lost does not fit the next",
        "fedexp": "its step compares how long updates and their mean are, and compression changes these differently",
    }
    if reason := reasons.get(config.strategy.kind):
        yield (
            f"compression: {kind} does not go with strategy {config.strategy.kind}: {reason}; "
            "use compression none, or fedavg, fedprox, fedavgm, fedadam, fedyogi, fedadagrad or diloco"
        )


def _local(config: RunConfig) -> Iterator[str]:
    local = config.local
    if local.epochs is not None and local.seconds is not None:
        yield "local: give epochs or seconds, not both"
    elif local.epochs is not None and local.steps is not None:
        yield "local: give epochs or steps, not both"
    for name in ("speeds", "replay"):
        if getattr(local, name) and local.seconds is None:
            yield f"local.{name}: goes with local.seconds, which is not given; remove it, or give local.seconds"
    if local.speeds and local.replay:
        yield "local: speeds and replay both say how many steps participants make; remove one of the two"


def _rounds(config: RunConfig) -> Iterator[str]:
    joins, leaves = config.rounds.joins, config.rounds.leaves
    for name, first in joins.items():
        if first > config.rounds.count:
            yield f"rounds.joins: {name} comes in round {first}, but there are {config.rounds.count} (rounds.count)"
        elif first > leaves.get(name, first):
            yield f"rounds.leaves: {name} leaves after round {leaves[name]}, before it comes in round {first}"
    if (joins or leaves) and isinstance(config.strategy, sections.Scaffold | sections.FedDyn):
        yield (
            f"rounds.joins: {config.strategy.kind} keeps a sum over all participants at the coordinator, which those "
            "who come or leave would put out of balance for good; use another strategy, or let all be there throughout"
        )
    match config.rounds.cohort:
        case sections.Fixed(size=size) if size < config.rounds.min_reports:
            yield (
                f"rounds.min_reports: is {config.rounds.min_reports}, but only {size} participants train in a round "
                "(rounds.cohort.size), so that no round would stand"
            )


def _evaluation(config: RunConfig) -> Iterator[str]:
    if config.evaluation.baselines:
        yield from _baselines(config)
    participants, split = config.participants, config.evaluation.split
    if isinstance(participants, sections.Scenario):
        plays = participants.scenario
        if isinstance(plays, sections.Plays) and not getattr(plays, split):
            yield f"evaluation.split: is {split}, but participants.scenario.{split} is 0; give it a share of the text"
        return
    if split != "validation":
        return
    # Files may be folders of `datasets` that bring their own validation rows, which is seen when they are read.
    if isinstance(participants, sections.Partition) and not (participants.validation or participants.split.validation):
        yield (
            "evaluation.split: is validation, but there are no such rows; give participants.validation, or a "
            "share in participants.split.validation"
        )


def _baselines(config: RunConfig) -> Iterator[str]:
    if not isinstance(config.privacy, sections.NoPrivacy):
        yield (
            "evaluation.baselines: each participant's own model is trained on its rows without noise, and no epsilon "
            "covers figures of it; use privacy none on data that need it not, or baselines false"
        )
    if config.local.seconds is not None:
        yield (
            "evaluation.baselines: with local.seconds participants make as many steps as they find time for, so that "
            "the models compared would be of different numbers; set local.steps for all, and local.seconds to null"
        )
