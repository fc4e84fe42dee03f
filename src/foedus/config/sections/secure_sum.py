"""Whether the coordinator sees the participants' updates, or sums of them alone."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from foedus.config.sections.section import Number, Section, Whole, kinds


class PlainSum(Section):
    """The coordinator sees each participant's update."""

    kind: Literal["none"] = "none"


class HiddenSum(Section):
    """What all ways to hide updates in their sum have in common."""

    value_range: Annotated[Number, Field(gt=0)] | None = None
    """The largest change of a parameter that is summed as it is; what is larger is clipped and counted. The step that
    values are rounded to follows from it, from max_weight and from the number of participants. Left out: from a dry
    round before the first one, or, where records are hidden, from the learning rate and the number of steps."""
    max_weight: Annotated[Number, Field(gt=0)] | None = None
    """The most that a participant may count by. Left out: 1 with uniform weights; the most training rows that a
    participant has, rounded up to a power of two; or, where tokens count, from the dry round."""
    min_cohort: Annotated[Whole, Field(ge=2)] = 3
    """With fewer participants in a sum, participants take no part. A coordinator that lies can make groups of as few:
    choose it larger, by two at least, than the number of participants that may side with it."""


class SurvivingSum(HiddenSum):
    """What ways have in common whose rounds outlive participants that vanish."""

    threshold: Annotated[Whole, Field(ge=2)] | None = None
    """How many must stay to the end of a round. Left out: more than two thirds of those who begin, which under masks
    is safe as long as fewer than a third side with the coordinator. Never half of them or fewer."""


class Masks(SurvivingSum):
    """All that a participant sends travels under masks that cancel in the sum, whoever drops out. Each round takes
    five exchanges in place of one. After Bonawitz et al. 2017 and Bell et al. 2020.
    """

    kind: Literal["masks"] = "masks"


class Ckks(SurvivingSum):
    """All that a participant sends is encrypted with a key that every participant has and the coordinator has not: it
    adds what it cannot read. A participant that sides with the coordinator opens everything; masks withstand that.
    Needs the extra he. After Cheon, Kim, Kim and Song 2017.
    """

    kind: Literal["ckks"] = "ckks"


class Threshold(HiddenSum):
    """EXPERIMENTAL, not reviewed by anybody outside: all that a participant sends is encrypted with a key that all of a
    round make together, and only all together can use. Who vanishes late costs the round. For 2 to 32 participants.
    After Mouchet et al. 2021.
    """

    kind: Literal["threshold"] = "threshold"
    accept_unreviewed: bool = False
    """Set to true to say that you know that nobody outside has reviewed this cryptography. Without, it is refused."""


SecureSum = Annotated[
    PlainSum | Masks | Ckks | Threshold,
    Field(discriminator="kind", description="Whether the coordinator sees updates, or sums of them alone."),
    kinds("none"),
]
