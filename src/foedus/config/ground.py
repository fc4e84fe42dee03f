"""What all sides of a run agree on before its first round, beside the configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from foedus.config import sections
from foedus.config.build import hides_evaluation
from foedus.core.errors import ConfigError, MessageError
from foedus.data.labels import agree_on_labels, require_known_labels
from foedus.data.sites import SPLITS, Site
from foedus.federation.messages import ParticipantId

Merges = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Ground:
    """The common ground.

    participants: all of them, in one order. labels: the classes; None where the task has none.
    merges: of a tokenizer that was learnt for the run. weight_bound: a power of two that no participant's number of
        training rows exceeds. value_range, max_weight: of secure sums, where a dry round found them.
    compared: those who train a model of their own too, if the run compares with that; they alone are measured then.
    """

    participants: Sequence[ParticipantId]
    labels: Sequence[str] | None
    merges: Merges | None
    weight_bound: int
    value_range: float | None = None
    max_weight: float | None = None
    compared: Sequence[ParticipantId] = ()

    @property
    def some_measured(self) -> bool:
        """Whether some are measured, and others are not."""
        return 0 < len(self.compared) < len(self.participants)

    def as_json(self) -> Mapping[str, Any]:
        """Return it as JSON values."""
        return {
            "participants": list(self.participants),
            "labels": None if self.labels is None else list(self.labels),
            "merges": None if self.merges is None else [list(merge) for merge in self.merges],
            "weight_bound": self.weight_bound,
            "value_range": self.value_range,
            "max_weight": self.max_weight,
            "compared": list(self.compared),
        }

    def fill_in(self, config: sections.RunConfig) -> sections.RunConfig:
        """Return the configuration with what a dry round found where it leaves that out."""
        chosen: Any = config.secure_sum
        if isinstance(chosen, sections.PlainSum):
            return config
        found = {"value_range": self.value_range, "max_weight": self.max_weight}
        update = {name: value for name, value in found.items() if value is not None and getattr(chosen, name) is None}
        if not update:
            return config
        return config.model_copy(update={"secure_sum": chosen.model_copy(update=update)}).rooted(config.root)

    @staticmethod
    def of_json(given: Mapping[str, Any]) -> Ground:
        """Return what `as_json` wrote.

        Raises: MessageError if it did not.
        """
        participants, labels, merges = given.get("participants"), given.get("labels"), given.get("merges")
        bound = given.get("weight_bound")
        if not (_are_texts(participants) and participants and type(bound) is int and bound > 0):
            raise MessageError("what the coordinator says that all agree on names no participants, or no weight")
        if not (labels is None or _are_texts(labels)):
            raise MessageError("what the coordinator says that all agree on has classes that are no texts")
        if not (merges is None or (isinstance(merges, list) and all(_is_merge(merge) for merge in merges))):
            raise MessageError("what the coordinator says that all agree on has merges that are no pairs")
        pairs = None if merges is None else [(left, right) for left, right in merges]
        value_range, max_weight = given.get("value_range"), given.get("max_weight")
        if not all(size is None or _is_positive(size) for size in (value_range, max_weight)):
            raise MessageError("what the coordinator says that all agree on has a range or a weight that is none")
        compared = given.get("compared")
        if not (_are_texts(compared) and set(compared) <= set(participants)):
            raise MessageError("what the coordinator says that all agree on compares those who are no participants")
        return Ground(tuple(participants), labels, pairs, bound, value_range, max_weight, tuple(compared))


@dataclass(frozen=True)
class Introduction:
    """What a participant tells of its data before the first round; nothing else of them is told.

    labels: the classes that it holds, where the configuration does not list them. listed: all classes in their order,
    where they are given from outside its rows. splits: those that it has rows of.
    weight_bound: the least power of two that is not less than its number of training rows. shown: counts that its own
    file agrees to show to all. compares: whether it trains a model of its own too, for a run that compares with that.
    """

    labels: Sequence[str] | None
    splits: Sequence[str]
    weight_bound: int
    listed: Sequence[str] | None = None
    shown: Mapping[str, int] = field(default_factory=dict)
    compares: bool = False

    def as_json(self) -> Mapping[str, Any]:
        """Return it as JSON values."""
        return {
            "labels": None if self.labels is None else list(self.labels),
            "splits": list(self.splits),
            "weight_bound": self.weight_bound,
            "listed": None if self.listed is None else list(self.listed),
            "shown": dict(self.shown),
            "compares": self.compares,
        }

    @staticmethod
    def of_json(given: Mapping[str, Any]) -> Introduction:
        """Return what `as_json` wrote.

        Raises: MessageError if it did not.
        """
        labels, listed = given.get("labels"), given.get("listed")
        splits, bound, shown = given.get("splits"), given.get("weight_bound"), given.get("shown")
        classes_fit = all(classes is None or _are_texts(classes) for classes in (labels, listed))
        compares = given.get("compares")
        if not (classes_fit and _are_texts(splits) and _are_counts(shown) and _is_count(bound)) or bound == 0:
            raise MessageError("what it tells of its data is not what is asked of a participant of this version")
        if not isinstance(compares, bool):
            raise MessageError("what it tells of its data is not what is asked of a participant of this version")
        return Introduction(labels, splits, bound, listed, shown, compares)


def introduce(
    config: sections.RunConfig,
    site: Site,
    listed: Sequence[str] | None = None,
    shown: Mapping[str, int] | None = None,
    *,
    baselines: bool = False,
) -> Introduction:
    """Return what a participant tells of its rows.

    listed: all classes in their order, where they are given from outside the rows. shown: counts that all may see.
    baselines: whether it agrees to train a model of its own too, if that is asked.
    Raises: DataError if its rows have classes that the configuration does not list.
    """
    task = config.task
    labels: Sequence[str] | None = None
    if isinstance(task, sections.TextClassification):
        held = [label for rows in site.splits.values() for label in rows[task.label].to_pylist()]
        if task.labels is None:
            labels = sorted(set(held))
        else:
            require_known_labels({site.name: held}, task.labels)
    splits = [split for split in SPLITS if site.rows(split)]
    return Introduction(
        labels,
        splits,
        weight_bound([site.rows("train")]),
        None if labels is None else listed,
        shown or {},
        baselines and compares(config, splits),
    )


def compares(config: sections.RunConfig, splits: Sequence[str]) -> bool:
    """Return whether a participant with rows of these splits has what the run compares with."""
    return config.evaluation.baselines and {"train", config.evaluation.split} <= set(splits)


def compared(config: sections.RunConfig, willing: Sequence[ParticipantId]) -> Sequence[ParticipantId]:
    """Return those whose models are compared: nobody's if they are too few for a sum that shows none alone."""
    chosen = config.secure_sum
    least = 2 if isinstance(chosen, sections.PlainSum) else chosen.min_cohort
    return tuple(willing) if len(willing) >= (1 if config.evaluation.per_site else least) else ()


def about_compared(config: sections.RunConfig, ground: Ground) -> Sequence[str]:
    """Return what is to be said of who is compared, if that is not everybody."""
    others = [name for name in ground.participants if name not in ground.compared]
    if not (config.evaluation.baselines and others):
        return []
    if not ground.compared:
        return ["Too few train a model of their own for a comparison (evaluation.baselines), so there is none."]
    return [
        f"The figures of this run are of {', '.join(ground.compared)} alone, who also trained models of their own: "
        f"{', '.join(others)} did not, and who is not compared is not measured (evaluation.baselines)."
    ]


def agree(config: sections.RunConfig, told: Mapping[ParticipantId, Introduction]) -> Ground:
    """Return the common ground of participants that told this of their data.

    Raises: DataError if their classes cannot be agreed on; ConfigError if nobody has rows to measure on.
    """
    task, labels = config.task, None
    if isinstance(task, sections.TextClassification):
        labels = list(task.labels) if task.labels is not None else _agreed_labels(told)
    require_measurable(config, [split for each in told.values() for split in each.splits])
    willing = [name for name, each in told.items() if each.compares]
    bound = max(each.weight_bound for each in told.values())
    return Ground(tuple(told), labels, None, bound, compared=compared(config, willing))


def _agreed_labels(told: Mapping[ParticipantId, Introduction]) -> Sequence[str]:
    """Return the classes in the order that everybody has from the same place, or in natural order."""
    found = agree_on_labels({name: each.labels or () for name, each in told.items()})
    orders = [each.listed for each in told.values()]
    if orders[0] is not None and all(order == orders[0] for order in orders) and set(found) <= set(orders[0]):
        return orders[0]
    return found


def require_measurable(config: sections.RunConfig, splits: Sequence[str]) -> None:
    """Check that some participant has rows of the split that is measured on.

    Raises: ConfigError.
    """
    if not hides_evaluation(config.privacy) and config.evaluation.split not in splits:
        raise ConfigError(
            f"evaluation.split is {config.evaluation.split}, but no participant has {config.evaluation.split} rows; "
            f"give participants.{config.evaluation.split}, or a share in participants.split"
        )


def weight_bound(rows: Sequence[int]) -> int:
    """Return the least power of two that none of the numbers exceeds.

    >>> weight_bound([3, 100]), weight_bound([0])
    (128, 1)
    """
    return 1 << (max([1, *rows]) - 1).bit_length()


def _is_count(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 1 << 53


def _are_counts(values: Any) -> TypeGuard[Mapping[str, int]]:
    return isinstance(values, dict) and all(_is_count(value) for value in values.values())


def _are_texts(values: Any) -> TypeGuard[Sequence[str]]:
    return isinstance(values, list | tuple) and all(isinstance(value, str) for value in values)


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value > 0


def _is_merge(merge: Any) -> bool:
    return isinstance(merge, list) and len(merge) == 2 and all(type(unit) is int and unit >= 0 for unit in merge)
