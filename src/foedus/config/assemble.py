"""From a configuration to a federation that is ready to play: data read, model loaded, everything encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from foedus.config import sections
from foedus.config.build import build_algorithm, build_local_settings, build_plan, build_sampler, compress
from foedus.config.model import build_source, tune
from foedus.config.pace import build_paces, require_known
from foedus.config.privacy import Plans, build_plans, is_reproducible
from foedus.config.private_run import PrivateRun, idle_entropy
from foedus.config.secure_sums import build_secure_sums
from foedus.config.sites import Data, read_data
from foedus.config.task import build_task, longest_input
from foedus.config.tokenizer import build_tokenizer
from foedus.core import trees
from foedus.core.entropy import KEY_BYTES
from foedus.core.errors import ConfigError
from foedus.core.seeds import SeedKey, torch_seeded
from foedus.core.trees import ParamTree
from foedus.engines.in_process import InProcessEngine
from foedus.federation.messages import ParticipantId, Sums
from foedus.federation.own_reports import OwnReports
from foedus.federation.protocols import Algorithm, ServerState
from foedus.federation.round import Federation
from foedus.federation.sampling import Only, Sampler
from foedus.models.hidden import hidden_matrices
from foedus.models.loading import LoadedModel, load_model, require_length
from foedus.models.travel import ParameterCounts, count_parameters, travelling
from foedus.privacy.gradients.clipped_sums import ClippedSums
from foedus.privacy.outbox import Outbox
from foedus.privacy.participant_level import cohorts, rounds_under_privacy, with_participant_privacy
from foedus.privacy.plan import CohortPlan, StreamPlan
from foedus.privacy.secure_sum.embedding import SecureSide
from foedus.privacy.signing.identity import Identity
from foedus.strategies.fedavg import fedavg
from foedus.training.pacing import Pace, paced
from foedus.training.private_steps import PrivateSteps
from foedus.training.settings import LocalSettings
from foedus.training.site_task import SiteTask
from foedus.training.task import Example, Task
from foedus.training.workspace import Workspace

POOLED = "pooled"


@dataclass(frozen=True)
class Assembly:
    """What a run, and every baseline beside it, is made of.

    examples: by participant and split, encoded once.
    paces: what decides on each participant's steps; empty if the settings do.
    initial: the parameters that every arm starts from.
    plans: how records, or participants, are hidden; None without differential privacy.
    """

    config: sections.RunConfig
    data: Data
    task: Task
    loaded: LoadedModel
    counts: ParameterCounts
    workspace: Workspace
    settings: LocalSettings
    examples: Mapping[ParticipantId, Mapping[str, Sequence[Example]]]
    initial: ParamTree
    key: SeedKey
    paces: Mapping[ParticipantId, Pace]
    plans: Plans | None = None
    clipped: ClippedSums | None = None

    def federation(
        self,
        algorithm: Algorithm | None = None,
        *,
        reraise: bool = False,
        private: PrivateRun | None = None,
        own_reports: OwnReports | None = None,
        signers: Mapping[ParticipantId, Identity] | None = None,
        run: str | None = None,
    ) -> Federation:
        """Return the run itself.

        algorithm: takes the place of the configured strategy.
        own_reports: where participants keep figures of their own.
        signers: everybody's identity, if the run is signed. run: its id.
        private: what a run with differential privacy needs; without it, such a federation is only to be looked at.
        """
        if algorithm is None:
            algorithm = build_algorithm(self.config, self.workspace.optimizer_like())
        else:
            algorithm = compress(algorithm, self.config.compression)
        if self.paces:
            algorithm = paced(algorithm)
        sampler = build_sampler(self.config.rounds.cohort, self.key.child("turns"))
        entropy = private.entropy if private else idle_entropy()
        hides_participants = isinstance(self.plans, CohortPlan | StreamPlan)
        if isinstance(self.plans, CohortPlan | StreamPlan):
            algorithm = with_participant_privacy(algorithm, self.plans, entropy)
            sampler = cohorts(self.plans, entropy, self.key.child("turns"))
        secure = build_secure_sums(
            self.config, algorithm, self._training_rows(), self._statistics_like(), signers=signers, run=run
        )
        federation = self._federation(
            algorithm,
            self.examples,
            sampler,
            reraise=reraise,
            outbox=private.outbox if private else None,
            own_reports=own_reports,
            secure=secure[1] if secure else None,
        )
        if secure:
            sums = secure[0]
            federation = replace(federation, collect=sums.collect_updates, collect_evaluation=sums.collect_evaluations)
        plan = rounds_under_privacy(federation.plan) if hides_participants else federation.plan
        if private is None:
            return replace(federation, plan=plan)
        # cohorts are drawn from the run's seed otherwise, which stands in the configuration
        seed = SeedKey(bytes(entropy.child("cohorts").draw(KEY_BYTES)))
        return replace(federation, plan=plan, guard=private.guard, seed=seed)

    def alone(self, site: ParticipantId) -> Federation:
        """Return plain training of one site on its own rows, measured on every site's."""
        return self._baseline({site: self.examples[site]["train"]} if "train" in self.examples[site] else {})

    def pooled(self) -> Federation:
        """Return plain training on the rows of all sites together, measured on every site's."""
        training = [splits["train"] for splits in self.examples.values() if splits.get("train")]
        rows = [example for examples in training for example in examples]
        return self._baseline({POOLED: rows}, makes_steps_of=len(training))

    def synchronous(self) -> Federation:
        """Return what exchanging gradients after every single step comes to: pooled rows, batches of all sites' size.

        It makes as many steps as one site does, so that it sees as many rows as the sites together.
        """
        training = [splits["train"] for splits in self.examples.values() if splits.get("train")]
        rows = [example for examples in training for example in examples]
        return self._baseline({POOLED: rows}, batches_of=len(training))

    def _baseline(
        self, training: Mapping[ParticipantId, Sequence[Example]], makes_steps_of: int = 1, batches_of: int = 1
    ) -> Federation:
        """Return training of the given rows alone; sites keep what they are measured on.

        makes_steps_of: how many participants' steps it makes, where these are given by number.
        batches_of: how many participants' batches go into one of its own.
        """
        held_out: dict[ParticipantId, dict[str, Sequence[Example]]] = {
            site: {split: rows for split, rows in splits.items() if split != "train"}
            for site, splits in self.examples.items()
        }
        for name, rows in training.items():
            held_out.setdefault(name, {})["train"] = rows
        steps = self.settings.steps and self.settings.steps * makes_steps_of
        batch_size = self.settings.batch_size * batches_of
        settings = replace(self.settings, keep_optimizer=True, steps=steps, batch_size=batch_size)
        federation = self._federation(fedavg(), held_out, Only(tuple(training)), settings=settings)
        return replace(federation, plan=replace(federation.plan, min_reports=1, joins={}, leaves={}))

    def _federation(
        self,
        algorithm: Algorithm,
        examples: Mapping[ParticipantId, Mapping[str, Sequence[Example]]],
        sampler: Sampler,
        *,
        settings: LocalSettings | None = None,
        reraise: bool = False,
        outbox: Outbox | None = None,
        own_reports: OwnReports | None = None,
        secure: Mapping[ParticipantId, SecureSide] | None = None,
    ) -> Federation:
        tasks = {name: self._site_task(name, splits, settings) for name, splits in examples.items()}
        return Federation(
            algorithm=algorithm,
            engine=InProcessEngine(
                algorithm.local,
                tasks,
                device=self.workspace.device,
                reraise=reraise,
                outbox=outbox,
                own_reports=own_reports,
                secure=secure,
            ),
            sampler=sampler,
            plan=build_plan(self.config),
            seed=self.key,
            score=self.task.score,
        )

    def _training_rows(self) -> Mapping[ParticipantId, int]:
        return {name: len(splits.get("train", ())) for name, splits in self.examples.items()}

    def _statistics_like(self) -> Sums:
        """Return names and shapes of evaluation statistics, from any one row; empty if nobody has one to measure on."""
        split = self.config.evaluation.split
        rows = next((splits[split] for splits in self.examples.values() if splits.get(split)), None)
        if rows is None or isinstance(self.config.secure_sum, sections.PlainSum):
            return {}
        anyone = SiteTask(self.task, self.workspace, self.settings, {split: rows[:1]}, self.key)
        return anyone.evaluate(self.initial, split)

    def site_task(self, name: ParticipantId) -> SiteTask:
        """Return a participant's side of the run."""
        return self._site_task(name, self.examples[name])

    def _site_task(
        self, name: ParticipantId, splits: Mapping[str, Sequence[Example]], settings: LocalSettings | None = None
    ) -> SiteTask:
        key = self.key.child("participant", name)
        private = self._private_steps(name, key) if settings is None else None
        pace = self.paces.get(name) if settings is None else None  # baselines have settings of their own
        return SiteTask(self.task, self.workspace, settings or self.settings, splits, key, pace, private)

    def _private_steps(self, name: ParticipantId, key: SeedKey) -> PrivateSteps | None:
        """Return how a participant hides its records; None where it need not, or has none."""
        if self.clipped is None or not isinstance(self.plans, Mapping) or name not in self.plans:
            return None
        reproducible = is_reproducible(self.config.privacy)
        return PrivateSteps(self.plans[name], self.clipped, key.child("privacy") if reproducible else None)

    def initial_state(self, federation: Federation) -> ServerState:
        """Return the state before the first round."""
        return ServerState(0, self.initial, federation.algorithm.init(self.initial))


def assemble(config: sections.RunConfig, data: Data | None = None) -> Assembly:
    """Read the data, unless they are given, load the model and encode every participant's rows.

    Raises: DataError, ModelError, ConfigError or MissingExtra with what is wrong and what to do.
    """
    device = choose_device(config.device)
    key = SeedKey.from_seed(config.seed)
    data = data or read_data(config, key)
    _require_enough(config, [site.name for site in data.sites])
    paces = build_paces(config, [site.name for site in data.sites])
    built = build_tokenizer(config, data.sites)
    task = build_task(config.task, built.tokenizer, data.labels)
    loaded = load_model(build_source(config), built.tokenizer, task.auto_class, key.child("model"), data.labels or ())
    require_length(loaded.model, longest_input(config.task))
    model = tune(loaded, config, task.peft_task_type, key.child("tuning"))
    loaded = replace(loaded, model=model, notes=(*built.notes, *loaded.notes))
    settings = build_local_settings(config)
    hidden = hidden_matrices(model) if settings.optimizer == "muon" else ()
    workspace = Workspace(model, travelling(model), settings, device, hidden)
    examples: dict[ParticipantId, dict[str, Sequence[Example]]] = {
        site.name: {split: task.encode(rows) for split, rows in site.splits.items()} for site in data.sites
    }
    counts = {name: len(splits.get("train", ())) for name, splits in examples.items()}
    clipped = None
    if isinstance(config.privacy, sections.RecordPrivacy):
        clipped = ClippedSums(model, workspace.parameters, config.privacy.clip_norm)
        _rehearse(clipped, task, workspace, examples)
    return Assembly(
        config=config,
        data=data,
        task=task,
        loaded=loaded,
        counts=count_parameters(model),
        workspace=workspace,
        settings=settings,
        examples=examples,
        initial=trees.clone(workspace.parameters),
        key=key,
        paces=paces,
        plans=build_plans(config, counts),
        clipped=clipped,
    )


def _rehearse(
    clipped: ClippedSums,
    task: Task,
    workspace: Workspace,
    examples: Mapping[ParticipantId, Mapping[str, Sequence[Example]]],
) -> None:
    """Clip one small batch, so that a model whose records cannot be told apart is refused before the first round.

    Raises: ModelError that names the parameter.
    """
    rows = next((splits["train"] for splits in examples.values() if splits.get("train")), ())
    if not rows:
        return
    some = [rows[i % len(rows)] for i in range(3)]
    workspace.mode(training=True)
    batch = {name: tensor.to(workspace.device) for name, tensor in task.collate(some, SeedKey.from_seed(0)).items()}
    with torch_seeded(SeedKey.from_seed(0), workspace.device):
        clipped.add(lambda: task.record_losses(workspace.model, batch), len(some))
    clipped.take()  # nothing of it is used


def _require_enough(config: sections.RunConfig, names: Sequence[ParticipantId]) -> None:
    """Check that there are participants enough for every round to stand.

    Raises: ConfigError.
    """
    for where, given in (("rounds.joins", config.rounds.joins), ("rounds.leaves", config.rounds.leaves)):
        require_known(given, names, where)
    cohort, least, plan = config.rounds.cohort, config.rounds.min_reports, build_plan(config)
    # who is there changes where somebody comes, and after somebody left
    changes = {1, *config.rounds.joins.values(), *(last + 1 for last in config.rounds.leaves.values())}
    for number in sorted(changes):
        if number > config.rounds.count:
            break
        present = len(plan.present(names, number))
        there = f"the run has {present} participants" + (f" in round {number}" if present < len(names) else "")
        if isinstance(cohort, sections.Fixed) and cohort.size > present:
            raise ConfigError(
                f"rounds.cohort.size is {cohort.size}, but {there}; use at most {present}, or cohort: all"
            )
        if least > present:
            raise ConfigError(f"rounds.min_reports is {least}, but {there}; use fewer")


def choose_device(name: str) -> torch.device:
    """Return the device of this name; auto is the accelerator that PyTorch finds, or the CPU.

    Raises: ConfigError if there is no such device.
    """
    found = torch.accelerator.current_accelerator(check_available=True)
    if name == "auto":
        return found or torch.device("cpu")
    device = torch.device(name)
    if device.type == "cpu":
        return device
    if found is None or device.type != found.type:
        there = f"cpu and {found.type}" if found else "only cpu"
        raise ConfigError(f"device is {name}, but this machine has {there}; use auto, or one of these")
    if (count := torch.accelerator.device_count()) <= (device.index or 0):
        raise ConfigError(f"device is {name}, but this machine has {count} of {device.type}, counted from 0")
    return device
