"""Whether a message asks for what the run's configuration leads to: a coordinator may ask for anything.

It is checked at the participant, beside what the secure sum's own terms say.
"""

from __future__ import annotations

from collections.abc import Collection

from foedus.config import sections
from foedus.config.build import hides_evaluation
from foedus.config.value_range import needs_dry_round
from foedus.core.errors import ConsentError
from foedus.engines.codec.messages import Question
from foedus.federation.messages import (
    Clock,
    CountPairs,
    DryRound,
    Evaluate,
    ParticipantId,
    SecureSumStep,
    Train,
    TrainAlone,
)


def refuse_unagreed(config: sections.RunConfig, question: Question) -> None:
    """Check that a message asks for nothing that the run does not need.

    config: as it was agreed on, with the range of values that a dry round found.
    Raises: ConsentError if it asks for an update or figures in the clear that are to be summed securely, for figures
        that the run leaves with their participants, for other rounds, or for a dry round where there is none.
    """
    securely = isinstance(question, SecureSumStep)
    asked = question.of if isinstance(question, SecureSumStep) else question
    match asked:
        case Train():
            _refuse_other_rounds(config, asked.broadcast.clock)
        case DryRound():
            if not needs_dry_round(config):
                raise ConsentError("it was asked for a dry round, and this run has none; nothing was sent")
            _refuse_other_rounds(config, asked.broadcast.clock)
        case Evaluate(split=split, tell=tell, round=number):
            if split != config.evaluation.split:
                raise ConsentError(
                    f"it was asked for figures on its {split} rows, and evaluation.split of this run is "
                    f"{config.evaluation.split}; nothing was sent"
                )
            if not tell:
                return
            if not 0 <= number <= config.rounds.count:
                raise ConsentError(
                    f"it was asked for figures after round {number}, and this run has {config.rounds.count}; "
                    "nothing was sent"
                )
            if hides_evaluation(config.privacy):
                raise ConsentError(
                    "it was asked for figures on its rows, and this run leaves these with their participants "
                    "(privacy.evaluation: off); nothing was sent"
                )
        case _:
            return
    if not (securely or isinstance(config.secure_sum, sections.PlainSum)):
        raise ConsentError(
            f"it was asked for its own {'figures' if isinstance(asked, Evaluate) else 'update'} in the clear, and this "
            f"run has secure_sum: {config.secure_sum.kind}; nothing was sent"
        )


def refuse_uncompared(
    config: sections.RunConfig, compared: Collection[ParticipantId], name: ParticipantId, question: Question
) -> None:
    """Check that a run which compares measures those alone who are compared, and each model once.

    Otherwise the same model's figures could be asked for over two sets of participants, whose sums differ by single
    ones.
    compared: those who are. name: who is asked.
    Raises: ConsentError.
    """
    asked = question.of if isinstance(question, SecureSumStep) else question
    match asked:
        case TrainAlone(clock=clock):
            if name not in compared:
                raise ConsentError("it was asked to train a model of its own, and this run has none of it")
            _refuse_other_rounds(config, clock)
        case Evaluate(compare=compare, tell=tell, round=number):
            if compare and name not in compared:
                raise ConsentError("it was asked to compare with a model of its own, and this run has none of it")
            if not (compared and tell):
                return
            if name not in compared:
                raise ConsentError(
                    "it was asked for figures, and in this run those alone are measured who train a model of their own "
                    "too; nothing was sent"
                )
            if number == 0 or compare != (number == config.rounds.count):
                raise ConsentError(
                    f"it was asked for figures after round {number} in another way than this run has them: those of "
                    "what training starts from, and of the last round, are told once, with those of its own model"
                )
        case _:
            return


def refuse_after_the_end(question: Question) -> None:
    """Check that nothing more is worked for in a run of which this participant told what it cost.

    Raises: ConsentError.
    """
    if isinstance(question, Train | TrainAlone | DryRound | Evaluate | CountPairs | SecureSumStep):
        raise ConsentError(
            "it was asked for work after it told what this run cost it, which would not be true any more; nothing was "
            "trained or sent"
        )


def _refuse_other_rounds(config: sections.RunConfig, clock: Clock) -> None:
    if clock.rounds != config.rounds.count or not 0 <= clock.round < clock.rounds:
        raise ConsentError(
            f"it was asked for round {clock.round + 1} of {clock.rounds}, and this run has {config.rounds.count}; "
            "nothing was trained"
        )
