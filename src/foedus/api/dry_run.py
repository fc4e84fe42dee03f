"""What would leave an organisation in a run, by name, shape and bytes: from its own file, the run's, and the model.

Its side of the run is built as in the run itself; nothing is trained, and nothing is sent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from foedus.api.coordinate import refuse_undeployable
from foedus.api.run import ConfigLike, as_config
from foedus.config import sections
from foedus.config.build import hides_evaluation
from foedus.config.consent import consent, require_upload
from foedus.config.ground import Ground, introduce
from foedus.config.loading import load_participant_file
from foedus.config.own_data import read_own, shown_counts
from foedus.config.privacy import is_reproducible
from foedus.config.private_halves import agreed_noise, tells_weight_bound
from foedus.config.private_run import idle_entropy
from foedus.config.problems import refuse_problems
from foedus.config.sections import RunConfig
from foedus.config.secure_sums import cost_of_sum
from foedus.config.side import Side, build_side
from foedus.core.errors import SecureSumError
from foedus.engines.codec.messages import encode_answer
from foedus.federation.alone import BESIDE, FEDERATED, joined
from foedus.federation.membership import Told
from foedus.federation.messages import Evaluation, LocalUpdate, Sums, Trees
from foedus.federation.protocols import Algorithm, ServerState
from foedus.privacy.plan import DistributedPlan
from foedus.privacy.secure_sum.contents import Contents, Scale, contents_of_evaluations, contents_of_updates
from foedus.privacy.secure_sum.cost import Load
from foedus.privacy.secure_sum.masks import Layout

UNCOMPARED = "evaluation, only if too few train models of their own for a comparison"
COMPARED = "last evaluation, of what training starts from and of its own model too"
TOLD, UPDATE, EVALUATION, SPENT = "before the first round", "update of each round", "evaluation", "after the last round"
STATEMENT_BYTES = 512  # about what a statement takes
SIGNED = "signature on what it sent, and on what the run came to"


@dataclass(frozen=True)
class Leaving:
    """One thing that would leave. kind: its type, or what it is. size: in bytes, as it stands in the message."""

    name: str
    shape: tuple[int, ...]
    kind: str
    size: int


@dataclass(frozen=True)
class Phase:
    """One message of a run. times: how often it is sent. alone: whether others see it by itself.

    size: the whole message in bytes; of a secure sum, all that a participant sends for this sum.
    """

    name: str
    items: Sequence[Leaving]
    size: int
    times: int
    alone: bool


@dataclass(frozen=True)
class DryRun:
    """What would leave an organisation. facts: what it tells of its rows, as it would. sums: how updates travel."""

    run: str
    organisation: str
    facts: Mapping[str, Any]
    phases: Sequence[Phase]
    sums: str
    largest: int
    allowed: int


def dry_run(data: Path, config: ConfigLike, name: str, organisations: Sequence[str] = ()) -> DryRun:
    """Return what would leave the organisation of this name in a run. No row is shown, and none would leave.

    data: its own file. organisations: all of the federation.
    Raises: ConsentError with what the file does not allow; as `foedus.run` for what cannot work.
    """
    file, run = load_participant_file(data), as_config(config, ())
    consent(file, run)
    run = run.model_copy(update={"device": file.device}).rooted(run.root)
    refuse_problems(run)
    refuse_undeployable(run)
    own = read_own(file, run, name)
    introduction = introduce(run, own.site, own.listed, shown_counts(file, own.site), baselines=file.allow.baselines)
    if not tells_weight_bound(run):
        introduction = replace(introduction, weight_bound=1)
    labels = _labels(run, own.listed, introduction.labels)
    names = tuple(dict.fromkeys([name, *organisations]))
    side = build_side(_for(run, len(names)), Ground(names, labels, None, introduction.weight_bound))
    measured = (
        _compared(side, run, compares=introduction.compares) if run.evaluation.baselines else _measured(side, run)
    )
    phases = [_told(introduction.as_json()), *_rounds(side, run), *measured, *_spent(run), *_signed(run)]
    largest = max(phase.size for phase in phases)
    require_upload(file, largest, "the largest message of this run")
    sums = run.secure_sum.kind
    return DryRun(run.name, name, introduction.as_json(), phases, sums, largest, file.limits.upload_bytes)


def _labels(run: RunConfig, listed: Sequence[str] | None, held: Sequence[str] | None) -> Sequence[str] | None:
    """Return classes to build the model with: the own ones, where others' are not known yet."""
    if not isinstance(run.task, sections.TextClassification):
        return None
    return run.task.labels or listed or held


def _for(run: RunConfig, organisations: int) -> RunConfig:
    """Return the run as one that so few participants can play: who else comes is not known here."""
    least = min(run.rounds.min_reports, organisations)
    rounds = run.rounds.model_copy(update={"min_reports": least, "joins": {}, "leaves": {}, "cohort": sections.All()})
    return run.model_copy(update={"rounds": rounds}).rooted(run.root)


def _told(facts: Mapping[str, Any]) -> Phase:
    items = [Leaving(key, (), "told", len(str(value))) for key, value in facts.items() if value]
    return Phase(TOLD, items, _bytes(encode_answer(Told(facts))), 1, alone=True)


def _rounds(side: Side, run: RunConfig) -> Sequence[Phase]:
    noise = agreed_noise(side)
    if noise is not None:
        return _noised(side, noise, run)
    algorithm = side.algorithm(None, None, idle_entropy())
    update = algorithm.sample_update(side.initial, {} if side.clipped is not None else {"loss": 0.0})
    if isinstance(run.secure_sum, sections.PlainSum):
        sent = Phase(UPDATE, _items(update), _bytes(encode_answer(update)), run.rounds.count, alone=True)
    else:
        contents, plain = _contents(side, algorithm), _bytes(encode_answer(update))
        sent = Phase(UPDATE, _words(contents), _hidden(side, contents.layout, plain), run.rounds.count, alone=False)
    return [sent]


def _noised(side: Side, noise: DistributedPlan, run: RunConfig) -> Sequence[Phase]:
    """Return the upload that gets its noise here: one vector, and nothing beside it."""
    algorithm = side.algorithm(None, noise, idle_entropy())
    summed = algorithm.templates(side.initial, averaged=False)
    layout = side.packing(algorithm, noise)({}, summed).layout
    items = [
        Leaving("clipped update with noise", (count,), f"{noise.bits} bits in {width}-bit words", width // 8 * count)
        for width, count in layout.counts
    ]
    return [Phase(UPDATE, items, _hidden(side, layout, 0), run.rounds.count, alone=False)]


def _spent(run: RunConfig) -> Sequence[Phase]:
    """Return what is told of the privacy that was spent."""
    privacy = run.privacy
    if isinstance(privacy, sections.NoPrivacy) or is_reproducible(privacy):
        return []
    sealed = isinstance(privacy, sections.RecordPrivacy) and privacy.sizes == "private"
    bill = Leaving("bill", (), "a sealed digest" if sealed else "events and how often", 64 if sealed else 256)
    return [Phase(SPENT, [Leaving("epsilon", (), "number", 8), bill], 8 + bill.size, 1, alone=True)]


def _signed(run: RunConfig) -> Sequence[Phase]:
    """Return what of a signed run leaves beside what it signs."""
    if not isinstance(run.signatures, sections.Ed25519):
        return []
    evaluations = 0 if hides_evaluation(run.privacy) else 1 + math.ceil(run.rounds.count / run.evaluation.every)
    items = [Leaving("statement", (), "digests", STATEMENT_BYTES), Leaving("signature", (), "Ed25519", 128)]
    return [Phase(SIGNED, items, sum(item.size for item in items), run.rounds.count + evaluations + 1, alone=True)]


def _measured(side: Side, run: RunConfig) -> Sequence[Phase]:
    """Return what is told of held-out rows; nothing where that stays at home."""
    if hides_evaluation(run.privacy):
        return []
    evaluations = 1 + math.ceil(run.rounds.count / run.evaluation.every)
    return [_evaluated(EVALUATION, side, side.statistics_like(), evaluations)]


def _compared(side: Side, run: RunConfig, *, compares: bool) -> Sequence[Phase]:
    """Return what is told of held-out rows in a run that compares."""
    if not compares:  # then all are measured, if those who do are too few for a comparison
        return [replace(phase, name=UNCOMPARED) for phase in _measured(side, run)]
    like, before = side.statistics_like(), math.ceil(run.rounds.count / run.evaluation.every) - 1
    last = _evaluated(COMPARED, side, joined(dict.fromkeys((FEDERATED, *BESIDE), like)), 1)
    return [_evaluated(EVALUATION, side, like, before), last] if before else [last]


def _evaluated(name: str, side: Side, statistics: Sums, times: int) -> Phase:
    if isinstance(side.config.secure_sum, sections.PlainSum):
        items = [_tensor(key, tensor) for key, tensor in statistics.items()]
        return Phase(name, items, _bytes(encode_answer(Evaluation(statistics))), times, alone=True)
    summed = contents_of_evaluations(statistics, Scale(1.0, 1.0, len(side.ground.participants)))
    return Phase(name, _words(summed), _hidden(side, summed.layout, 0), times, alone=False)


def _contents(side: Side, algorithm: Algorithm) -> Contents:
    in_turn = algorithm.in_turn(ServerState(0, side.initial, algorithm.init(side.initial)))
    averaged, summed = (algorithm.templates(in_turn, averaged=kind) for kind in (True, False))
    return contents_of_updates(averaged, summed, Scale(1.0, 1.0, len(side.ground.participants)))


def _hidden(side: Side, layout: Layout, plain: int) -> int:
    """Return all that a participant sends for one sum."""
    chosen, names = side.config.secure_sum, side.ground.participants
    assert not isinstance(chosen, sections.PlainSum), "whoever calls has asked"
    try:
        return cost_of_sum(chosen, Load(names, plain, 0, layout)).up_bytes
    except SecureSumError:  # too few organisations are known here to say how many messages there are
        return sum(width // 8 * count for width, count in layout.counts)


def _words(contents: Contents) -> list[Leaving]:
    return [
        Leaving(
            _spoken(entry.name),
            entry.shape,
            f"{entry.grid.width}-bit words",
            math.prod(entry.shape) * entry.grid.width // 8,
        )
        for entry in contents.entries
    ]


def _spoken(name: str) -> str:
    """Return a place in a sum as people write it: its parts stand there as a JSON list."""
    return "/".join(json.loads(name)) if name.startswith("[") else name


def _items(update: LocalUpdate) -> list[Leaving]:
    trees: Trees = {**update.averaged, **update.summed}
    items = [_tensor(f"{part}/{key}", tensor) for part, tree in trees.items() for key, tensor in tree.items()]
    items += [Leaving(part, (), "compressed tree", tree.byte_size()) for part, tree in update.encoded.items()]
    figures = ["weight", *update.metrics, *update.counts]
    return [*items, *(Leaving(name, (), "number", 8) for name in figures)]


def _tensor(name: str, tensor: Tensor) -> Leaving:
    size = tensor.numel() * tensor.element_size()
    return Leaving(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), size)


def _bytes(pieces: Sequence[Any]) -> int:
    return sum(len(piece) for piece in pieces)
