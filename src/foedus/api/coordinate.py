"""Playing one run between organisations: the coordinator's side, over any way to the participants."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from foedus.api.conclude import Played, conclude
from foedus.api.costs import Over
from foedus.api.digests import run_digest
from foedus.api.playing import RunResult, play_rounds
from foedus.config import sections
from foedus.config.coordinator import coordinated, plain_federation, run_sampler
from foedus.config.dump import dump_config, relocate
from foedus.config.ground import Ground, Introduction, about_compared, agree
from foedus.config.loading import load_config
from foedus.config.private_halves import agreed_noise, undeployable_privacy, with_agreed_range
from foedus.config.private_run import idle_entropy
from foedus.config.problems import refuse_problems
from foedus.config.sections import RunConfig
from foedus.config.secure_sums import agreed_sums, pinned_keys
from foedus.config.side import Side, build_side
from foedus.config.signed_run import SignedRun, begin_remote_signed_run
from foedus.config.tokenizer import learn_tokenizer, learns_tokenizer
from foedus.config.told_privacy import ToldGuard, read_records, told_guard
from foedus.config.value_range import needs_dry_round, play_dry_round
from foedus.core import trees
from foedus.core.errors import ConfigError, MessageError, RoundError, RunFolderError
from foedus.engines.remote import RemoteEngine
from foedus.engines.way import Way
from foedus.federation.events import Observer, ignore
from foedus.federation.membership import Agree, Begin, Told
from foedus.federation.messages import Failure, ParticipantId
from foedus.federation.orders import note_order
from foedus.federation.protocols import ServerState
from foedus.federation.round import Federation
from foedus.federation.run_folder import RunFolder, opened
from foedus.federation.state import StateFile
from foedus.privacy.ledger.guard import run_identity
from foedus.privacy.plan import DistributedPlan
from foedus.privacy.signing.identity import Identity
from foedus.privacy.signing.pins import Pins, require
from foedus.privacy.signing.statements import COORDINATOR

GROUND = "ground.json"  # in the run's folder: what all agreed on before the first round

# Is told of a participant that is lost, refuses, or is back, and why.
Notice = Callable[[ParticipantId, str], None]


@dataclass(frozen=True)
class Federated:
    """Whom a run is played with. pins: everybody's identity keys, for secure sums and signatures.

    shows: is told the counts that a participant agrees to show. identity: opens the coordinator's own key.
    patience_s: how long a signed run waits at its end for those who are away. wait: as of RemoteEngine.
    """

    way: Way
    names: Sequence[ParticipantId]
    pins: Pins | None = None
    notice: Notice = lambda name, what: None
    shows: Callable[[ParticipantId, Mapping[str, int]], None] = lambda name, counts: None
    identity: Callable[[], Identity] | None = None
    patience_s: float = 600.0
    wait: Callable[[Collection[ParticipantId]], None] | None = None


def enqueue(config: RunConfig, folder: RunFolder, by: str | None = None, members: Sequence[ParticipantId] = ()) -> None:
    """Write down a run that is to be played between organisations; it waits from then on.

    by: who submits it, for the record. members: whom its state shows until it begins.

    Raises: ConfigError if it cannot be; RunFolderError if the folder is taken.
    """
    refuse_problems(config)
    refuse_undeployable(config)
    with opened(folder):
        if folder.config.exists():
            raise RunFolderError(f"there is a run {folder.path.name} already; choose another --name")
        if by is not None:
            note_order(folder.path, by, "submit")
            StateFile(folder.path, config.name, members).waits("waits for its turn")
        folder.write(folder.config, dump_config(relocate(config, folder.path)))


def refuse_undeployable(config: RunConfig) -> None:
    """Check that a run does without what there is none of between organisations.

    Raises: ConfigError with every reason, one a line.
    """
    found = list(undeployable_privacy(config))
    if isinstance(config.strategy, sections.Custom):
        found.append("strategy: custom is a program, and programs do not travel; use one that is installed everywhere")
    if config.local.replay is not None:
        found.append("local.replay: reads a run's record, which participants do not have; leave it out")
    if found:
        raise ConfigError("\n".join(found))


def coordinate(folder: RunFolder, federated: Federated, *, observe: Observer = ignore) -> RunResult:
    """Play the run of a folder that `enqueue` made, or go on with it from its last whole round.

    Raises: ConfigError or ModelError if it cannot be set up; RoundError if too few take part, or rounds do not stand.
    """
    with opened(folder):
        config = load_config(folder.config)
        began = time.perf_counter()
        is_founded = (folder.path / GROUND).exists()
        if not is_founded:  # what was summed for a run that a crash cut off before, nobody answers for again
            folder.identity.unlink(missing_ok=True)
        engine = RemoteEngine(
            federated.way,
            run_identity(folder.identity),
            federated.names,
            notice=federated.notice,
            least=least_needed(config),
            wait=federated.wait,
        )
        ground, notes, records = _set_up(config, folder, engine, federated)
        side = with_agreed_range(build_side(ground.fill_in(config), ground, dry_rounds=True))
        # encrypted sums take the most: six times float32, and each strategy's parts besides
        engine.largest_answer = (16 << 20) + 64 * trees.byte_size(side.initial)
        noise = agreed_noise(side)
        guard = told_guard(side.config, noise, records)
        federation = _federation(side, engine, federated.pins, noise, guard)
        if needs_dry_round(side.config):
            state = ServerState(0, side.initial, federation.algorithm.init(side.initial))
            found = play_dry_round(side, federation, state).config.secure_sum
            assert not isinstance(found, sections.PlainSum), "a dry round is for other sums"
            weighted = config.strategy.weighting in ("tokens", "tokens_seen")
            ground = replace(
                ground, value_range=found.value_range, max_weight=found.max_weight if weighted else ground.max_weight
            )
            engine.introduce(Agree(ground.as_json()))
            side = replace(side, config=ground.fill_in(config), ground=ground)
            federation = _federation(side, engine, federated.pins, noise, guard)
        if not is_founded:
            _write_down(folder, ground, notes, records)
        digest = run_digest(side, folder, noise, {"ground": ground.as_json()})
        signed = _begin_signed(side, federation, folder, engine, federated, inputs=digest)
        federation = federation if signed is None else signed.federation
        start_seconds = 0.0

        def ready() -> None:
            nonlocal start_seconds
            start_seconds = time.perf_counter() - began

        over = Over.read(folder)
        if over is not None:  # who told what the run cost it works for it no more
            federation = replace(federation, plan=replace(federation.plan, rounds=over.rounds))
        ending = play_rounds(side, federation, folder, digest=digest, observe=observe, ready=ready)
        over = over or Over(ending.state.round, ending.stopped)
        played = Played(config, side, folder, engine, notes, guard, signed, start_seconds)
        patience_s, notice = federated.patience_s, federated.notice
        return conclude(played, ending, over, observe=observe, notice=notice, patience_s=patience_s)


def is_signed_run(config: RunConfig) -> bool:
    """Return whether participants sign what they send."""
    return isinstance(config.signatures, sections.Ed25519)


def _begin_signed(
    side: Side,
    federation: Federation,
    folder: RunFolder,
    engine: RemoteEngine,
    federated: Federated,
    *,
    inputs: str,
) -> SignedRun | None:
    """Return the run with its rounds signed and logged; None if nobody signs.

    Raises: ConfigError or SignatureError if keys are missing, or the log is not this run's.
    """
    if not is_signed_run(side.config):
        return None
    if federated.pins is None or federated.identity is None:
        raise ConfigError("signatures: needs identity keys of the coordinator and of all, and this federation has none")
    identity = federated.identity()
    require(federated.pins, COORDINATOR, identity.public)
    roster = pinned_keys(federated.pins, side.ground.participants)
    return begin_remote_signed_run(
        side.config, federation, folder, engine, coordinator=identity, roster=roster, inputs=inputs
    )


def _federation(
    side: Side, engine: RemoteEngine, pins: Pins | None, noise: DistributedPlan | None, guard: ToldGuard | None
) -> Federation:
    """Return what is played. Raises: ConfigError or SignatureError if secure sums lack keys."""
    config, algorithm = side.config, side.algorithm(None, noise, idle_entropy())
    secure = None
    if not isinstance(config.secure_sum, sections.PlainSum):
        if pins is None:
            raise ConfigError("secure_sum: needs everybody's pinned identity keys, and this federation has none")
        secure = agreed_sums(
            config,
            algorithm,
            side.ground.weight_bound,
            identities=pinned_keys(pins, side.ground.participants),
            statistics_like=side.statistics_like(),
            pack=None if noise is None else side.packing(algorithm, noise),
            run=engine.run,
            some_measured=side.ground.some_measured,
        )
    plain = plain_federation(side, algorithm, engine, run_sampler(side, None, idle_entropy()))
    return replace(coordinated(plain, None, secure, None), guard=guard, journal=guard)


def _write_down(folder: RunFolder, ground: Ground, notes: Sequence[str], records: Mapping[ParticipantId, int]) -> None:
    kept = {"ground": ground.as_json(), "notes": list(notes), "records": dict(records)}
    folder.write(folder.path / GROUND, json.dumps(kept))


def _set_up(
    config: RunConfig, folder: RunFolder, engine: RemoteEngine, federated: Federated
) -> tuple[Ground, Sequence[str], Mapping[ParticipantId, int]]:
    """Agree with the participants on what the run is about, or tell them what was agreed on before.

    Raises: RoundError if too few take part.
    """
    begin = Begin(engine.run, folder.config.read_text(encoding="utf-8"))
    answers = engine.introduce(begin)
    told: dict[ParticipantId, Introduction] = {}
    for name in engine.population():
        match answers.get(name):
            case None | Failure():
                continue  # the engine has told of it
            case answer:
                try:
                    told[name] = Introduction.of_json(answer.facts)
                    federated.shows(name, told[name].shown)
                except MessageError as error:
                    federated.notice(name, f"refused: {error}")
    place = folder.path / GROUND
    records: Mapping[ParticipantId, int] = {}
    if known := place.exists():
        kept = json.loads(place.read_text(encoding="utf-8"))
        ground, notes, records = Ground.of_json(kept["ground"]), list(kept["notes"]), kept.get("records", {})
        engine.only(ground.participants)
    else:
        _require_enough_told(config, told, engine.population())
        engine.only(list(told))
        ground, notes = agree(config, told), []
        if learns_tokenizer(config):
            learnt = learn_tokenizer(config, engine)
            ground = replace(ground, merges=learnt.merges)
            notes = list(learnt.notes)
        notes = [*about_compared(config, ground), *notes]
    answered = engine.introduce(Agree(ground.as_json()))
    agreed = {name: answer.facts for name, answer in answered.items() if isinstance(answer, Told)}
    if not known:
        _require_enough_told(config, agreed, ground.participants)
        records = read_records(agreed)
    return ground, notes, records


def least_needed(config: RunConfig) -> int:
    """Return how many participants a round needs to stand."""
    chosen = config.secure_sum
    return max(1, config.rounds.min_reports, 0 if isinstance(chosen, sections.PlainSum) else chosen.min_cohort)


def _require_enough_told(config: RunConfig, told: Collection[ParticipantId], names: Sequence[ParticipantId]) -> None:
    """Check that enough participants take part for rounds to stand.

    Raises: RoundError.
    """
    if len(told) < (least := least_needed(config)):
        missing = ", ".join(name for name in names if name not in told)
        raise RoundError(
            f"{len(told)} of {len(names)} organisations take part, and a round needs {least}; "
            f"{missing} did not answer or refused"
        )
