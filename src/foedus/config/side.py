"""What the coordinator and every participant of a run build alike, from its configuration and the common ground.

Neither needs a row for it. In the embedded run one of these serves everybody; between organisations each has its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import torch

from foedus.compression.common_grid import on_common_grid
from foedus.compression.feedback import PART, refuse_incompressible
from foedus.config import sections
from foedus.config.bounded_range import with_bounded_range
from foedus.config.build import build_algorithm, build_local_settings, build_plan, compress, plain_compression
from foedus.config.distributed import packing_of
from foedus.config.ground import Ground
from foedus.config.model import build_source, tune
from foedus.config.narrow_sums import keeps_remainders
from foedus.config.pace import require_known
from foedus.config.privacy import is_reproducible
from foedus.config.secure_sums import build_rules, build_scale
from foedus.config.sites import columns_of
from foedus.config.task import build_task, longest_input
from foedus.config.tokenizer import build_tokenizer
from foedus.core import trees
from foedus.core.entropy import Entropy
from foedus.core.errors import ConfigError
from foedus.core.seeds import SeedKey, torch_seeded
from foedus.core.trees import ParamTree
from foedus.federation.messages import ParticipantId, Sums
from foedus.federation.protocols import Algorithm
from foedus.models.hidden import hidden_matrices
from foedus.models.loading import LoadedModel, load_model, require_length
from foedus.models.travel import ParameterCounts, count_parameters, travelling
from foedus.privacy.distributed.uploads import uploaded_numbers, with_clipped_uploads
from foedus.privacy.gradients.clipped_sums import ClippedSums
from foedus.privacy.participant_level import with_participant_privacy
from foedus.privacy.plan import CohortPlan, DistributedPlan, RecordPlan, StreamPlan
from foedus.privacy.secure_sum.packing import Pack
from foedus.training.pacing import Pace, paced
from foedus.training.private_steps import PrivateSteps
from foedus.training.settings import LocalSettings
from foedus.training.site_task import SiteTask
from foedus.training.task import Example, Task
from foedus.training.workspace import Workspace

Splits = Mapping[str, Sequence[Example]]


@dataclass(frozen=True)
class Side:
    """One side of a run, with one copy of the model.

    initial: the parameters that the first round starts from. clipped: hooks by which records are told apart, if they
    are hidden.
    """

    config: sections.RunConfig
    ground: Ground
    task: Task
    loaded: LoadedModel
    counts: ParameterCounts
    workspace: Workspace
    settings: LocalSettings
    initial: ParamTree
    key: SeedKey
    clipped: ClippedSums | None = None

    def algorithm(
        self, given: Algorithm | None, plans: CohortPlan | StreamPlan | DistributedPlan | None, entropy: Entropy
    ) -> Algorithm:
        """Return both halves of what is played: the configured strategy, or the one given in its place."""
        algorithm = (
            build_algorithm(self.config, self.workspace.optimizer_like())
            if given is None
            else compress(given, plain_compression(self.config))
        )
        if keeps_remainders(self.config):
            algorithm = self._on_common_grid(algorithm)
        if self.config.local.seconds is not None:
            algorithm = paced(algorithm)
        match plans:
            case None:
                return algorithm
            case DistributedPlan():
                return with_clipped_uploads(algorithm, plans)
            case _:
                return with_participant_privacy(algorithm, plans, entropy)

    def _on_common_grid(self, algorithm: Algorithm) -> Algorithm:
        """Return the strategy with what its grid took away sent later; as it is as long as the grid is not known."""
        scale = build_scale(self.config, self.ground.weight_bound, len(self.ground.participants))
        if scale.value_range is None:
            refuse_incompressible(algorithm.parts)
            return algorithm
        return on_common_grid(algorithm, scale.grid(PART, scale.max_weight))

    def uploaded_numbers(self) -> int:
        """Return how many numbers an upload of the configured strategy has."""
        return uploaded_numbers(build_algorithm(self.config, self.workspace.optimizer_like()), self.initial)

    def packing(self, algorithm: Algorithm, plan: DistributedPlan) -> Pack:
        """Return how uploads get the noise that their participant adds.

        Raises: ConfigError if they are not of the length that the noise was planned for.
        """
        if (length := uploaded_numbers(algorithm, self.initial)) != plan.length:
            raise ConfigError(
                f"privacy: noise was planned for uploads of {plan.length:,} numbers, and this strategy's have "
                f"{length:,}; give the strategy in the configuration"
            )
        assert isinstance(self.config.secure_sum, sections.Masks), "problems() refuses others"
        rules = build_rules(self.config.secure_sum)
        return packing_of(plan, self.config.rounds.count, self.key.child("rotations"), rules)

    def own_noise(self, name: ParticipantId) -> Entropy:
        """Return where the noise comes from that a participant adds to its uploads."""
        if is_reproducible(self.config.privacy):
            return Entropy.reproducible_from(self.key.child("participant", name, "privacy"))
        return Entropy.secret()

    def site_task(
        self, name: ParticipantId, splits: Splits, pace: Pace | None = None, plan: RecordPlan | None = None
    ) -> SiteTask:
        """Return what a participant trains and evaluates. plan: how it hides its records, if it has to."""
        key = self.key.child("participant", name)
        private = None
        if plan is not None:
            assert self.clipped is not None, "a side of a run that hides records has hooks for it"
            reproducible = is_reproducible(self.config.privacy)
            private = PrivateSteps(plan, self.clipped, key.child("privacy") if reproducible else None)
        return SiteTask(self.task, self.workspace, self.settings, splits, key, pace, private)

    def alone_task(self, name: ParticipantId, splits: Splits) -> SiteTask:
        """Return what a participant trains by itself: plainly, as one would who takes part in nothing."""
        return replace(self, settings=replace(self.settings, keep_optimizer=True), clipped=None).site_task(name, splits)

    def statistics_like(self) -> Sums:
        """Return names and shapes of evaluation statistics, by a row that is made up."""
        rows = {"test": self.task.encode(_made_up(self.config.task, self.ground.labels))}
        anyone = SiteTask(self.task, self.workspace, self.settings, rows, self.key)
        return anyone.evaluate(self.initial, "test")


def build_side(config: sections.RunConfig, ground: Ground, *, dry_rounds: bool = False) -> Side:
    """Load the model and build all that follows from it.

    dry_rounds: whether the range of values under secure_sum is found later, if it is left out; it follows from the
        settings otherwise.
    Raises: ModelError, ConfigError or MissingExtra with what is wrong and what to do.
    """
    require_enough(config, ground.participants)
    device = choose_device(config.device)
    key = SeedKey.from_seed(config.seed)
    tokenizer = build_tokenizer(config, ground.merges)
    task = build_task(config.task, tokenizer, ground.labels)
    loaded = load_model(build_source(config), tokenizer, task.auto_class, key.child("model"), ground.labels or ())
    require_length(loaded.model, longest_input(config.task))
    model = tune(loaded, config, task.peft_task_type, key.child("tuning"))
    settings = build_local_settings(config)
    hidden = hidden_matrices(model) if settings.optimizer == "muon" else ()
    workspace = Workspace(model, travelling(model), settings, device, hidden)
    clipped = None
    if isinstance(config.privacy, sections.RecordPrivacy):
        clipped = ClippedSums(model, workspace.parameters, config.privacy.clip_norm)
    if not dry_rounds:
        config = with_bounded_range(config, settings, workspace.parameters, ground.weight_bound)
    return Side(
        config=config,
        ground=ground,
        task=task,
        loaded=replace(loaded, model=model),
        counts=count_parameters(model),
        workspace=workspace,
        settings=settings,
        initial=trees.clone(workspace.parameters),
        key=key,
        clipped=clipped,
    )


def rehearse(side: Side, rows: Sequence[Example]) -> None:
    """Clip one small batch, so that a model whose records cannot be told apart is refused before the first round.

    Raises: ModelError that names the parameter.
    """
    if side.clipped is None or not rows:
        return
    task, workspace = side.task, side.workspace
    some = [rows[i % len(rows)] for i in range(3)]
    workspace.mode(training=True)
    batch = {name: tensor.to(workspace.device) for name, tensor in task.collate(some, SeedKey.from_seed(0)).items()}
    with torch_seeded(SeedKey.from_seed(0), workspace.device):
        side.clipped.add(lambda: task.record_losses(workspace.model, batch), len(some))
    side.clipped.take()  # nothing of it is used


def require_enough(config: sections.RunConfig, names: Sequence[ParticipantId]) -> None:
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


def _made_up(task: sections.Task, labels: Sequence[str] | None) -> pa.Table:
    """Return one row as a participant could have it, long enough to fill a block of text."""
    columns = columns_of(task)
    row = {name: ["a b " * task.max_length] for name in columns.text}
    if columns.label is not None:
        assert labels is not None, "a task with a label column has classes"
        row[columns.label] = [labels[0]]
    return pa.table(row)
