"""A participant's half of a run between organisations: what it answers, from its own file and its own rows.

It begins with `Begin`, which its file must allow, and plays once `Agree` told it what all agree on. What it remembers
between rounds lies in its own folder, under the rounds' numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from foedus.config import sections
from foedus.config.asked import refuse_after_the_end, refuse_unagreed, refuse_uncompared
from foedus.config.consent import consent
from foedus.config.ground import Ground, introduce
from foedus.config.loading import load_config
from foedus.config.own_attestation import refuse_untrue
from foedus.config.own_comparison import COMPARISONS, own_comparison
from foedus.config.own_data import Own, read_own, shown_counts
from foedus.config.own_privacy import OwnPrivacy, begin_own_privacy
from foedus.config.own_signatures import answer_signed, open_log, refuse_unsigned
from foedus.config.pace import build_paces
from foedus.config.private_halves import agreed_noise, tells_weight_bound, undeployable_privacy, with_agreed_range
from foedus.config.private_run import idle_entropy
from foedus.config.problems import refuse_problems
from foedus.config.sections import ParticipantFile, RunConfig
from foedus.config.secure_sums import agreed_sums, pinned_keys, secure_side
from foedus.config.side import Side, Splits, build_side, rehearse
from foedus.config.tokenizer import words_of
from foedus.core.errors import BudgetError, ConfigError, ConsentError, DataError, MessageError, ParticipantError
from foedus.engines.codec.messages import Answer, Question
from foedus.engines.playing_site import PlayingSite
from foedus.engines.site import Site, failure_reason
from foedus.federation.alone import OwnArm
from foedus.federation.membership import Agree, Begin, Told
from foedus.federation.messages import CountPairs, Counts, Failure, Reply, Sums
from foedus.federation.own_reports import OwnReports
from foedus.models.byte_pairs import WordPairs
from foedus.privacy.secure_sum.keys import Identities
from foedus.privacy.signing.envelopes import Attest, GiveReceipts, GoBack, OpenLog, SignedRequest
from foedus.privacy.signing.identity import Identity
from foedus.privacy.signing.pins import Pins, require
from foedus.privacy.signing.signing_side import SigningSide
from foedus.privacy.signing.statements import Attestation


@dataclass(frozen=True)
class Home:
    """What a participant has before any run.

    name: the organisation's. file: what it brings and allows. folder: where it keeps what runs leave with it.
    identity, pins: its key, and everybody's; runs with secure sums or signatures need them.
    tell: is told what others are not. show: makes a page of the own comparison in a folder.
    """

    name: str
    file: ParticipantFile
    folder: Path
    identity: Identity | None = None
    pins: Pins | None = None
    tell: Callable[[str], None] = lambda text: None
    show: Callable[[Path], None] = lambda folder: None


@dataclass(frozen=True)
class _Begun:
    message: Begin
    config: RunConfig
    own: Own
    told: Told
    words: WordPairs | None


class ParticipantRun:
    """One participant's side of one run. Every question gets an answer; what goes wrong is a Failure.

    mark: is called whenever training or evaluation gets on. has_refused: whether the last answer was that the own file
    does not allow the run, which stays so until the file changes.
    """

    def __init__(self, home: Home, mark: Callable[[], None] = lambda: None) -> None:
        self._home = home
        self._mark = mark
        self._begun: _Begun | None = None
        self._agreed: Agree | None = None
        self._playing: PlayingSite | None = None
        self._ground: Ground | None = None
        self._side: tuple[Side, Splits] | None = None
        self._told_facts: Mapping[str, Any] = {}
        self._signing: SigningSide | None = None
        self._own: OwnPrivacy | None = None
        self.has_refused = False

    def answer(self, question: Question) -> Answer:
        """Return the answer to one message."""
        self.has_refused = False
        try:
            return self._answer(question)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong costs this participant's answer only
            own_rules = isinstance(error, ConsentError | BudgetError)
            self.has_refused = own_rules and isinstance(question, Begin | Agree)
            return Failure(failure_reason(error))

    def _answer(self, question: Question) -> Answer:
        match question:
            case Begin():
                return self._begin(question)
            case Agree():
                return self._agree(question)
            case CountPairs():
                return self._count(question)
            case OpenLog():
                return self._open(question)
            case SignedRequest() | GiveReceipts() | GoBack() | Attest():
                if self._signing is None:
                    raise MessageError("it was not told how this run's log begins, or it is none that is signed")
                return answer_signed(self._signing, question, self._play, self._refuse_untrue)
            case _:
                config = self._agreed_side().config
                refuse_unsigned(config, question, opened=self._signing is not None)
                return self._play(question)

    def _play(self, question: Question) -> Answer:
        """Return the answer to what asks for no more than was agreed on."""
        side = self._agreed_side()
        refuse_unagreed(side.config, question)
        refuse_uncompared(side.config, side.ground.compared, self._home.name, question)
        assert self._playing is not None and self._own is not None, "they are made ready with its side"  # noqa: PT018
        if self._own.told() is not None:
            refuse_after_the_end(question)
        return self._playing.answer(question)

    def _refuse_untrue(self, attestation: Attestation) -> None:
        self._agreed_side()
        assert self._own is not None and self._ground is not None, "they are made ready with its side"  # noqa: PT018
        refuse_untrue(self._own, self._ground.participants, attestation)

    def _agreed_side(self) -> Side:
        if self._playing is None or self._side is None:
            raise MessageError("it was not told what all agree on in this run")
        return self._side[0]

    def _open(self, message: OpenLog) -> Told:
        """Make ready to sign."""
        config, begun, home = self._agreed_side().config, self._has_begun(), self._home
        if not isinstance(config.signatures, sections.Ed25519):
            raise MessageError("it was told how a log begins, and this run is none that is signed")
        if home.identity is None or home.pins is None or self._ground is None:
            raise ConfigError("signatures need identity keys, and this participant's kit has none")
        require(home.pins, home.name, home.identity.public)
        self._signing = open_log(
            message,
            begun.message,
            config,
            self._ground.participants,
            name=home.name,
            identity=home.identity,
            pins=home.pins,
            folder=home.folder,
        )
        return Told()

    def _begin(self, message: Begin) -> Told:
        """Read the rows for a run that the own file allows, and tell what the others must know of them."""
        if self._begun is not None and self._begun.message == message:
            return self._begun.told
        config = read_run(message.config, self._home)
        consent(self._home.file, config)
        refuse_problems(config)
        if found := list(undeployable_privacy(config)):
            raise ConsentError("\n".join(found))
        own = read_own(self._home.file, config, self._home.name)
        shown = shown_counts(self._home.file, own.site)
        baselines = self._home.file.allow.baselines
        introduction = introduce(config, own.site, own.listed, shown, baselines=baselines)
        if not tells_weight_bound(config):
            introduction = replace(introduction, weight_bound=1)
        told = Told(introduction.as_json())
        words = words_of(config, own.site)
        self._begun, self._agreed, self._playing = _Begun(message, config, own, told, words), None, None
        self._ground = self._side = self._signing = None
        return told

    def _count(self, question: CountPairs) -> Reply:
        begun = self._has_begun()
        if not isinstance(begun.config.secure_sum, sections.PlainSum):
            raise ParticipantError("it was asked to count pairs in the clear, and this run's sums are secure ones")
        if begun.words is None:
            raise ParticipantError("it was asked to count pairs, but holds no texts to count in")
        return Counts(begun.words.count_pairs(question.merges))

    def _agree(self, message: Agree) -> Told:
        """Load the model and make ready to train."""
        if self._agreed == message:
            return Told(self._told_facts)
        begun, home = self._has_begun(), self._home
        ground = Ground.of_json(message.ground)
        self._require_own_place(begun, ground)
        config = ground.fill_in(begun.config)
        side, examples = self._built(config, ground)
        side = with_agreed_range(side)
        config, noise, records = side.config, agreed_noise(side), len(examples.get("train", ()))
        own = begin_own_privacy(
            side,
            home.name,
            home.file,
            begun.own.site,
            records=records,
            run=begun.message.run,
            folder=self._folder,
            kept=home.folder,
            tell=home.tell,
        )
        algorithm = side.algorithm(None, noise, idle_entropy())
        pace = build_paces(config, ground.participants).get(home.name)
        task = replace(side.site_task(home.name, examples, pace, own.plan), mark=self._mark)
        secure = None
        if not isinstance(config.secure_sum, sections.PlainSum):
            identity, identities = self._keys(ground)
            sums = agreed_sums(
                config,
                algorithm,
                ground.weight_bound,
                identities=identities,
                statistics_like=side.statistics_like(),
                pack=None if noise is None else side.packing(algorithm, noise),
                run=begun.message.run,
                some_measured=ground.some_measured,
            )
            secure = secure_side(sums, home.name, identity, self._folder / "answered.jsonl", side.own_noise(home.name))
        reports = None if config.evaluation.per_site else OwnReports(self._folder, "evaluations", side.task.score)
        site = Site(
            home.name,
            algorithm.local,
            task,
            device=side.workspace.device,
            outbox=own.outbox,
            own_reports=reports,
            secure=secure,
            arm=self._arm(side, examples),
            charge=own.charges.reserve if own.charges is not None else lambda request: None,
        )
        self._playing = PlayingSite(
            site,
            self._folder / "memory",
            config.output.checkpoints,
            settled=own.settle,
            cost=own.tell,
            finished=own.finish,
        )
        self._agreed, self._ground, self._side, self._own = message, ground, (side, examples), own
        self._told_facts, self._signing = own.facts(), None
        return Told(self._told_facts)

    def _arm(self, side: Side, examples: Splits) -> OwnArm | None:
        """Return what this participant trains alone, if it is among those who do."""
        home, begun = self._home, self._has_begun()
        if home.name not in side.ground.compared:
            return None
        place = home.folder / COMPARISONS / f"{side.config.name}-{begun.message.run[:8]}"

        def compared(figures: Mapping[str, Sums]) -> None:
            try:
                home.show(own_comparison(place, home.name, side.config, side.task, figures))
            except OSError as error:  # its figures are in the sum nevertheless
                home.tell(f"its own comparison cannot be written: {error.strerror}")

        task = replace(side.alone_task(home.name, examples), mark=self._mark)
        return OwnArm(task, side.initial, self._folder / "alone", side.workspace.device, compared)

    def _built(self, config: RunConfig, ground: Ground) -> tuple[Side, Splits]:
        """Return this side and its encoded rows: what there is, if only ranges were agreed on since."""
        unranged = replace(ground, value_range=None, max_weight=None)
        if self._side is not None and self._ground is not None:
            side, examples = self._side
            if replace(self._ground, value_range=None, max_weight=None) == unranged:
                return replace(side, config=config, ground=ground), examples
        side = build_side(config, ground, dry_rounds=True)
        rows = self._has_begun().own.site.splits
        examples = {split: side.task.encode(table) for split, table in rows.items()}
        rehearse(side, examples.get("train", ()))
        return side, examples

    def _require_own_place(self, begun: _Begun, ground: Ground) -> None:
        """Check that what is said to be agreed on holds what this participant told.

        Raises: MessageError if it does not.
        """
        home, labels = self._home, begun.told.facts["labels"]
        if home.name not in ground.participants:
            raise MessageError(f"what is said to be agreed on does not name {home.name} among the participants")
        if isinstance(begun.config.task, sections.TextClassification):
            known = set(ground.labels or ())
            if begun.config.task.labels is not None and list(ground.labels or ()) != list(begun.config.task.labels):
                raise MessageError("the classes that are said to be agreed on are not those of task.labels")
            if not set(labels or ()) <= known:
                raise DataError("the classes that are said to be agreed on lack some that this participant told")
        if home.name in ground.compared and not begun.told.facts["compares"]:
            raise MessageError("it is said to train a model of its own for this run, and told that it does not")
        if ground.weight_bound < begun.told.facts["weight_bound"]:
            raise MessageError("the largest weight that is said to be agreed on is less than this participant's")

    def _keys(self, ground: Ground) -> tuple[Identity, Identities]:
        """Return the own key and everybody's pinned ones.

        Raises: SignatureError if somebody's is not pinned.
        """
        home = self._home
        if home.identity is None or home.pins is None:
            raise ConfigError("secure sums need identity keys, and this participant's kit has none")
        require(home.pins, home.name, home.identity.public)
        return home.identity, pinned_keys(home.pins, ground.participants)

    @property
    def _folder(self) -> Path:
        return run_place(self._home.folder, self._has_begun().message.run)

    def _has_begun(self) -> _Begun:
        if self._begun is None:
            raise MessageError("it was not told which run this is")
        return self._begun


def run_place(folder: Path, run: str) -> Path:
    """Return where a participant keeps what a run leaves with it.

    Raises: MessageError if the run's id is none.
    """
    if not re.fullmatch(r"[0-9a-f]{32}", run):
        raise MessageError("a run's id is no number of 32 hexadecimal digits")
    place = folder / "runs" / run
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    return place


def read_run(text: str, home: Home) -> RunConfig:
    """Return the run that the coordinator sent, as it is played here: on this machine's device, in its folder.

    Raises: ConfigError if it is none.
    """
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        raise ConfigError("the run that the coordinator sent is no YAML") from None
    if not isinstance(values, dict):
        raise ConfigError("the run that the coordinator sent is no mapping")
    config = load_config(values).rooted(home.file.root)
    return config.model_copy(update={"device": home.file.device})
