"""From a configuration to a federation that is ready to play: data read, model loaded, everything encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from foedus.config import sections
from foedus.config.bounded_range import with_bounded_range
from foedus.config.coordinator import coordinated, plain_federation, run_sampler
from foedus.config.ground import Ground, about_compared, compared, compares, weight_bound
from foedus.config.pace import build_paces
from foedus.config.privacy import Plans, build_plans
from foedus.config.private_run import PrivateRun, idle_entropy
from foedus.config.secure_sums import build_secure_sums
from foedus.config.side import Side, Splits, build_side, rehearse, require_enough
from foedus.config.sites import Data, read_data
from foedus.config.tokenizer import learn_in_process, learns_tokenizer
from foedus.config.value_range import needs_dry_round, play_dry_round
from foedus.core.seeds import SeedKey
from foedus.core.trees import ParamTree
from foedus.engines.in_process import InProcessEngine
from foedus.federation.alone import OwnArm
from foedus.federation.messages import ParticipantId, Sums
from foedus.federation.own_reports import OwnReports
from foedus.federation.protocols import Algorithm, ServerState
from foedus.federation.round import Federation
from foedus.federation.sampling import Only, Sampler
from foedus.models.loading import LoadedModel
from foedus.models.travel import ParameterCounts
from foedus.privacy.outbox import Outbox
from foedus.privacy.plan import CohortPlan, DistributedPlan, StreamPlan
from foedus.privacy.secure_sum.embedding import SecureSide
from foedus.privacy.signing.identity import Identity
from foedus.strategies.fedavg import fedavg
from foedus.training.pacing import Pace
from foedus.training.settings import LocalSettings
from foedus.training.site_task import SiteTask
from foedus.training.task import Example, Task
from foedus.training.workspace import Workspace

POOLED = "pooled"
ARMS = "alone"  # in the run's folder: what simulated participants train alone


@dataclass(frozen=True)
class Assembly:
    """What a run, and every baseline beside it, is made of where all participants share this process.

    side: what the coordinator and the participants build alike; here one serves them all.
    examples: by participant and split, encoded once.
    paces: what decides on each participant's steps; empty if the settings do.
    plans: how records, or participants, are hidden; None without differential privacy.
    """

    side: Side
    data: Data
    examples: Mapping[ParticipantId, Splits]
    paces: Mapping[ParticipantId, Pace]
    plans: Plans | None = None

    @property
    def config(self) -> sections.RunConfig:
        """The run's configuration."""
        return self.side.config

    @property
    def task(self) -> Task:
        """Inputs, loss and metrics."""
        return self.side.task

    @property
    def loaded(self) -> LoadedModel:
        """The model and where it came from."""
        return self.side.loaded

    @property
    def counts(self) -> ParameterCounts:
        """How many parameters there are."""
        return self.side.counts

    @property
    def workspace(self) -> Workspace:
        """The one copy of the model."""
        return self.side.workspace

    @property
    def settings(self) -> LocalSettings:
        """How participants train."""
        return self.side.settings

    @property
    def initial(self) -> ParamTree:
        """The parameters that every arm starts from."""
        return self.side.initial

    @property
    def key(self) -> SeedKey:
        """What all randomness of the simulation follows from."""
        return self.side.key

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
        entropy = private.entropy if private else idle_entropy()
        hidden = self.plans if isinstance(self.plans, CohortPlan | StreamPlan) else None
        distributed = self.plans if isinstance(self.plans, DistributedPlan) else None
        algorithm = self.side.algorithm(algorithm, hidden or distributed, entropy)
        sampler = run_sampler(self.side, hidden, entropy)
        secure = build_secure_sums(
            self.config,
            algorithm,
            self._training_rows(),
            self._statistics_like(),
            pack=None if distributed is None else self.side.packing(algorithm, distributed),
            noise=self.side.own_noise,
            signers=signers,
            run=run,
            some_measured=self.side.ground.some_measured,
        )
        federation = self._federation(
            algorithm,
            self.examples,
            sampler,
            reraise=reraise,
            outbox=private.outbox if private else None,
            own_reports=own_reports,
            secure=secure[1] if secure else None,
            arms=self._arms(),
        )
        return coordinated(federation, hidden, secure[0] if secure else None, private)

    def _arms(self) -> Mapping[ParticipantId, OwnArm]:
        """Return what participants train alone, if the run compares with that."""
        folder, names = self.config.run_folder / ARMS, list(self.examples)
        return {
            name: OwnArm(
                self.side.alone_task(name, self.examples[name]),
                self.initial,
                folder / f"{names.index(name):05d}",
                self.workspace.device,
            )
            for name in self.side.ground.compared
        }

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
        plan = replace(federation.plan, min_reports=1, joins={}, leaves={}, compared=(), evaluate_initially=True)
        return replace(federation, plan=plan)

    def _federation(
        self,
        algorithm: Algorithm,
        examples: Mapping[ParticipantId, Splits],
        sampler: Sampler,
        *,
        settings: LocalSettings | None = None,
        reraise: bool = False,
        outbox: Outbox | None = None,
        own_reports: OwnReports | None = None,
        secure: Mapping[ParticipantId, SecureSide] | None = None,
        arms: Mapping[ParticipantId, OwnArm] | None = None,
    ) -> Federation:
        tasks = {name: self._site_task(name, splits, settings) for name, splits in examples.items()}
        engine = InProcessEngine(
            algorithm.local,
            tasks,
            device=self.workspace.device,
            reraise=reraise,
            outbox=outbox,
            own_reports=own_reports,
            secure=secure,
            arms=arms,
        )
        return plain_federation(self.side, algorithm, engine, sampler)

    def _training_rows(self) -> Mapping[ParticipantId, int]:
        return {name: len(splits.get("train", ())) for name, splits in self.examples.items()}

    def _statistics_like(self) -> Sums:
        """Return names and shapes of evaluation statistics; empty if none are summed securely."""
        return {} if isinstance(self.config.secure_sum, sections.PlainSum) else self.side.statistics_like()

    def site_task(self, name: ParticipantId) -> SiteTask:
        """Return a participant's side of the run."""
        return self._site_task(name, self.examples[name])

    def _site_task(self, name: ParticipantId, splits: Splits, settings: LocalSettings | None = None) -> SiteTask:
        if settings is not None:  # baselines have settings of their own
            return replace(self.side, settings=settings, clipped=None).site_task(name, splits)
        plan = self.plans.get(name) if isinstance(self.plans, Mapping) else None
        return self.side.site_task(name, splits, self.paces.get(name), plan)

    def with_range(
        self,
        algorithm: Algorithm | None = None,
        *,
        signers: Mapping[ParticipantId, Identity] | None = None,
        run: str | None = None,
    ) -> Assembly:
        """Return the run with all that secure_sum needs; if something is left out, a dry round is played for it.

        Its arguments are those of `federation`.
        Raises: ConfigError if that comes to nothing.
        """
        if not needs_dry_round(self.config):
            return self
        federation = self.federation(algorithm, signers=signers, run=run)
        return replace(self, side=play_dry_round(self.side, federation, self.initial_state(federation)))

    def initial_state(self, federation: Federation) -> ServerState:
        """Return the state before the first round."""
        return ServerState(0, self.initial, federation.algorithm.init(self.initial))


def assemble(config: sections.RunConfig, data: Data | None = None) -> Assembly:
    """Read the data, unless they are given, load the model and encode every participant's rows.

    Raises: DataError, ModelError, ConfigError or MissingExtra with what is wrong and what to do.
    """
    data = data or read_data(config, SeedKey.from_seed(config.seed))
    names = [site.name for site in data.sites]
    require_enough(config, names)
    paces = build_paces(config, names)
    learnt = learn_in_process(config, data.sites) if learns_tokenizer(config) else None
    bound = weight_bound([site.rows("train") for site in data.sites])
    willing = [s.name for s in data.sites if compares(config, [split for split in s.splits if s.rows(split)])]
    merges = learnt.merges if learnt else None
    ground = Ground(names, data.labels, merges, bound, compared=compared(config, willing))
    side = build_side(config, ground, dry_rounds=True)
    notes = (*about_compared(config, ground), *(learnt.notes if learnt else ()))
    side = replace(side, loaded=replace(side.loaded, notes=(*notes, *side.loaded.notes)))
    examples: dict[ParticipantId, Splits] = {
        site.name: {split: side.task.encode(rows) for split, rows in site.splits.items()} for site in data.sites
    }
    records = {name: len(splits.get("train", ())) for name, splits in examples.items()}
    rehearse(side, next((splits["train"] for splits in examples.values() if splits.get("train")), ()))
    plans = build_plans(config, records, side.uploaded_numbers)
    if isinstance(plans, Mapping):
        bounded = with_bounded_range(config, side.settings, side.initial, bound, plans.values())
        side = replace(side, config=bounded)
    return Assembly(side, data, examples, paces, plans)
