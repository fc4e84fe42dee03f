"""What a run would do, found out without training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from foedus.api.run import ConfigLike, as_config
from foedus.config import sections
from foedus.config.assemble import Assembly, assemble
from foedus.config.dump import dump_config
from foedus.config.explanation import Explanation, Holding, Traffic
from foedus.config.guarantee import guarantee, spent_by_round
from foedus.config.narrow_sums import WHOLE, keeps_remainders, summed_bits
from foedus.config.problems import problems
from foedus.config.secure_sums import costs_of_sums
from foedus.config.sites import columns_of, read_data
from foedus.config.tokenizer import require_tokenizer
from foedus.config.value_range import margin, needs_dry_round
from foedus.core.errors import ConfigError, FoedusError
from foedus.core.seeds import SeedKey
from foedus.federation.messages import Clock, Train, payload_bytes
from foedus.federation.round import Federation
from foedus.federation.run_folder import RunFolder, is_taken
from foedus.privacy.plan import DistributedPlan
from foedus.privacy.secure_sum.contents import Scale, contents_of_updates
from foedus.privacy.secure_sum.cost import Load


def explain(config: ConfigLike, *, overrides: Sequence[str] = ()) -> Explanation:
    """Return the resolved run, what each participant holds, what is trained and sent, and every problem found.

    Nothing is trained or written; the data are read and the model is loaded.
    Raises: ConfigError if the file itself cannot be understood.
    """
    resolved = as_config(config, overrides)
    explanation = Explanation(
        name=resolved.name,
        folder=str(resolved.run_folder),
        config=dump_config(resolved),
        rounds=resolved.rounds.count,
        notes=_notes(resolved),
        problems=problems(resolved),
    )
    found: list[str] = list(explanation.problems)
    try:
        from foedus.reporting.trackers import require_trackers

        require_trackers(resolved.output.trackers)
    except FoedusError as error:
        found.append(str(error))
    try:
        data = read_data(resolved, SeedKey.from_seed(resolved.seed))
    except FoedusError as error:
        found.append(str(error))
        return replace(explanation, problems=[*found, *_model_problem(resolved)])
    try:
        assembly = assemble(resolved, data)
        return replace(_filled(explanation, assembly), problems=found)
    except FoedusError as error:
        return replace(explanation, labels=data.labels, problems=[*found, str(error)])


def _notes(config: sections.RunConfig) -> Sequence[str]:
    if is_taken(RunFolder(config.run_folder)):
        return [f"{config.run_folder} already holds a run: foedus run needs --overwrite, or another --name"]
    return []


def _model_problem(config: sections.RunConfig) -> Sequence[str]:
    """Return what keeps the model from being found, where the data cannot be read."""
    try:
        require_tokenizer(config)
    except FoedusError as error:
        return [str(error)]
    return []


def _filled(explanation: Explanation, assembly: Assembly) -> Explanation:
    config = assembly.config
    federation = assembly.federation()
    cohort = _expected_cohort(config.rounds.cohort, _mean_population(assembly, federation))
    plain, chosen = _plain_traffic(assembly, federation), config.secure_sum.kind
    sums = costs_of_sums(config, _load(assembly, federation, round(cohort), plain))
    return replace(
        explanation,
        cohort=cohort,
        participants=[
            Holding(
                name=site.name,
                rows={split: table.num_rows for split, table in site.splits.items()},
                labels=_labels(assembly, site.name),
                steps=assembly.site_task(site.name).steps_of(0) if site.rows("train") else 0,
            )
            for site in assembly.data.sites
        ],
        labels=assembly.data.labels,
        total=assembly.counts.total,
        trained=assembly.counts.trained,
        sent=assembly.counts.sent,
        traffic=next((Traffic(cost.down_bytes, cost.up_bytes) for cost in sums if cost.kind == chosen), plain),
        secure_sums=sums,
        privacy=_promise(assembly),
        device=str(assembly.workspace.device),
        config=dump_config(config),
        notes=[
            *explanation.notes,
            *_range(explanation, config),
            *_pace(config.local),
            *_turns(config.strategy),
            *_baselines(config),
            *assembly.loaded.notes,
            *([assembly.data.note] if assembly.data.note else []),
        ],
    )


def _promise(assembly: Assembly) -> Sequence[str]:
    """Return what differential privacy would promise of the whole run, and what it would not."""
    config, rounds = assembly.config, assembly.config.rounds.count
    if assembly.plans is None or not assembly.plans:
        return []
    several = isinstance(config.privacy, sections.RecordPrivacy) and config.privacy.person_at == "several_participants"
    spent = spent_by_round(assembly.plans, rounds, composed=several)[rounds]
    promise = guarantee(config, assembly.plans, spent, rounds)
    return [promise["statement"], *promise["limits"]]


def _range(before: Explanation, config: sections.RunConfig) -> Sequence[str]:
    """Return where the range of values under secure_sum comes from, if the file does not give it."""
    if needs_dry_round(config):
        return [
            "secure_sum.value_range is left out: before the first round a cohort trains once, keeps nothing of it, and "
            "a secure sum tells within which power of two the largest change lies; the range is that times "
            f"{margin(config):g}, and the run's config.yaml shows it"
        ]
    chosen = config.secure_sum
    if dump_config(config) != before.config and not isinstance(chosen, sections.PlainSum):
        return [
            f"secure_sum.value_range is left out: {chosen.value_range:g} is the furthest that the optimizer "
            "can move a parameter in a round; a dry round would tell something of hidden records"
        ]
    return []


def _pace(local: sections.Local) -> Sequence[str]:
    """Return what is to be said of rounds whose steps are not known before they start."""
    if local.seconds is None or local.replay is not None:
        return []
    return [
        f"a round lasts about {local.seconds:g} seconds of training; participants that local.speeds does not name make "
        f"{local.steps} steps in their first one, and later as many as fit at the speed measured"
    ]


def _turns(strategy: sections.Strategy) -> Sequence[str]:
    """Return what is to be said of bytes that differ between rounds."""
    if not isinstance(strategy, sections.DiLoCo) or strategy.streaming is None:
        return []
    return [
        f"the bytes of a round are the mean of {strategy.streaming.fragments} fragments; whoever was not in the round "
        "before, as in its first, is sent the whole model"
    ]


def _baselines(config: sections.RunConfig) -> Sequence[str]:
    """Return what is to be said of models that participants train alone."""
    if not config.evaluation.baselines:
        return []
    return [
        "evaluation.baselines: beside every round, each participant trains a model of its own for as long, on its own "
        "rows alone; the last evaluation is of what training starts from, of these, and of the model trained together, "
        "on the same rows. Before the first round nothing is measured"
    ]


def _labels(assembly: Assembly, name: str) -> Counter[str]:
    """Return a participant's training rows by class; empty where the task has no classes."""
    label = columns_of(assembly.config.task).label
    site = next(site for site in assembly.data.sites if site.name == name)
    return Counter(site.splits["train"][label].to_pylist()) if label and "train" in site.splits else Counter()


def _mean_population(assembly: Assembly, federation: Federation) -> float:
    """Return how many participants are there in a round, on average over the run."""
    rounds, names = assembly.config.rounds, federation.engine.population()
    return sum(len(federation.plan.present(names, number + 1)) for number in range(rounds.count)) / rounds.count


def _expected_cohort(cohort: sections.Cohort, population: float) -> float:
    match cohort:
        case sections.Fixed():
            return cohort.size
        case sections.Poisson():
            return cohort.rate * population
        case sections.Cyclic():
            return population / cohort.separation
        case _:
            return population


def _plain_traffic(assembly: Assembly, federation: Federation) -> Traffic:
    """Return one participant's bytes in one round if updates were summed in the clear."""
    if not keeps_remainders(assembly.config):
        return _traffic(assembly, federation)
    config = assembly.config.model_copy(update={"secure_sum": sections.PlainSum()}).rooted(assembly.config.root)
    in_the_clear = replace(assembly, side=replace(assembly.side, config=config))
    return _traffic(in_the_clear, in_the_clear.federation())


def _traffic(assembly: Assembly, federation: Federation) -> Traffic:
    """Return one participant's bytes in one round; an update holds the declared parts, a weight and the loss.

    Where fragments take turns, they are the mean of these, for a participant in its second round or later.
    """
    state, algorithm = assembly.initial_state(federation), federation.algorithm
    message = algorithm.message(state, Clock(0, assembly.config.rounds.count))
    update = algorithm.sample_update(state.params, {"loss": 0.0})
    beside_params = replace(message, trees={n: t for n, t in message.trees.items() if n != "params"}, encoded={})
    beside_parts = replace(update, averaged={}, summed={}, encoded={})
    return Traffic(
        down=_mean(payload_bytes(Train(message)), payload_bytes(Train(beside_params)), algorithm.fragments),
        up=_mean(payload_bytes(update), payload_bytes(beside_parts), algorithm.fragments),
    )


def _load(assembly: Assembly, federation: Federation, cohort: int, plain: Traffic) -> Load:
    """Return what a round has to sum: of as many participants as it has on average."""
    algorithm, names = federation.algorithm, federation.engine.population()[: max(cohort, 1)]
    in_turn = algorithm.in_turn(assembly.initial_state(federation))
    like = algorithm.templates(in_turn, averaged=True), algorithm.templates(in_turn, averaged=False)
    if isinstance(assembly.plans, DistributedPlan):
        layout = assembly.side.packing(algorithm, assembly.plans)(*like).layout
    else:
        bits = WHOLE
        with suppress(ConfigError):  # so many do not fit narrow words; to be summed in the clear they need none
            bits = summed_bits(assembly.config, len(names))
        layout = contents_of_updates(*like, Scale(1.0, 1.0, len(names), delta_width=bits)).layout
    return Load(names, plain.up, plain.down, layout)


def _mean(whole: int, fixed: int, fragments: int) -> int:
    """Return a message's mean bytes: its fixed part, and one of so many fragments of the rest."""
    return round(fixed + (whole - fixed) / fragments)
