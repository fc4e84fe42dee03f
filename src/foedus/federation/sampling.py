"""Who takes part in a round.

Cohorts that a privacy guarantee counts on are drawn from entropy: whoever has the configuration can
compute those that follow from its seed, and then they hide nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from foedus.core.entropy import Entropy
from foedus.core.errors import ConfigError
from foedus.core.seeds import SeedKey
from foedus.federation.messages import ParticipantId


class Sampler(Protocol):
    """Chooses the participants of a round."""

    def select(self, population: Sequence[ParticipantId], key: SeedKey, round_index: int) -> Sequence[ParticipantId]:
        """Return the cohort, in the population's order.

        key: the round's own. round_index: 0 for the first round.
        """
        ...


@dataclass(frozen=True)
class Everyone:
    """All participants, every round."""

    def select(self, population: Sequence[ParticipantId], key: SeedKey, round_index: int) -> Sequence[ParticipantId]:
        """Return the population."""
        return tuple(population)


@dataclass(frozen=True)
class FixedSize:
    """So many participants, each subset as likely as any other."""

    size: int

    def select(self, population: Sequence[ParticipantId], key: SeedKey, round_index: int) -> Sequence[ParticipantId]:
        """Return `size` participants.

        Raises: ConfigError if there are fewer.
        """
        if self.size > len(population):
            raise ConfigError(
                f"rounds.cohort.size is {self.size}, but the run has {len(population)} participants; "
                f"use at most {len(population)}, or cohort: all"
            )
        chosen = key.numpy().choice(len(population), size=self.size, replace=False)
        return tuple(population[i] for i in sorted(chosen))


@dataclass(frozen=True)
class Poisson:
    """Each participant by an independent coin that follows from the seed; a cohort may be empty.

    rate: the coin's probability.
    """

    rate: float

    def select(self, population: Sequence[ParticipantId], key: SeedKey, round_index: int) -> Sequence[ParticipantId]:
        """Return those whose coin came up."""
        coins = key.numpy().random(len(population))
        return tuple(name for name, coin in zip(population, coins, strict=True) if coin < self.rate)


@dataclass(frozen=True)
class SecretPoisson:
    """Each participant by an independent coin that nobody can foretell or find out; a cohort may be empty.

    Guarantee: what a round costs is amplified by sampling at `rate`, towards those who do not see the cohort.
    """

    rate: float
    entropy: Entropy

    def select(self, population: Sequence[ParticipantId], key: SeedKey, round_index: int) -> Sequence[ParticipantId]:
        """Return those whose coin came up; the round's seed has no part in it."""
        stream = self.entropy.once("cohort", round_index)
        return tuple(population[i] for i in stream.chosen(len(population), self.rate))


@dataclass(frozen=True)
class TruncatedPoisson:
    """As SecretPoisson, but at most `cap` participants: of more, a random subset of that size.

    Guarantee: amplification as counted for truncated Poisson sampling; a cap that bites often costs much.
    """

    rate: float
    cap: int
    entropy: Entropy

    def select(self, population: Sequence[ParticipantId], key: SeedKey, round_index: int) -> Sequence[ParticipantId]:
        """Return those whose coin came up, or `cap` of them."""
        stream = self.entropy.once("cohort", round_index)
        chosen = stream.chosen(len(population), self.rate)
        if len(chosen) > self.cap:
            drawn = stream.uniform(len(chosen)).argsort()[: self.cap]
            chosen = sorted(chosen[i] for i in drawn)
        return tuple(population[i] for i in chosen)


@dataclass(frozen=True)
class Cyclic:
    """The population in `groups` groups of nearly one size, which take turns: group t mod `groups` in round t.

    A participant's rounds lie exactly `groups` apart. The groups are no secret; they follow from `key`.
    """

    groups: int
    key: SeedKey

    def select(self, population: Sequence[ParticipantId], key: SeedKey, round_index: int) -> Sequence[ParticipantId]:
        """Return the group whose turn it is.

        Raises: ConfigError if there are fewer participants than groups.
        """
        if self.groups > len(population):
            raise ConfigError(
                f"participants are to take turns in {self.groups} groups, but the run has {len(population)}; "
                "use a smaller min_separation, or more max_participations"
            )
        places = self.key.numpy().permutation(len(population))
        turn = round_index % self.groups
        return tuple(name for name, place in zip(population, places, strict=True) if place % self.groups == turn)


@dataclass(frozen=True)
class Only:
    """Always the same participants: how a baseline trains one of them beside others that only evaluate."""

    names: Sequence[ParticipantId]

    def select(self, population: Sequence[ParticipantId], key: SeedKey, round_index: int) -> Sequence[ParticipantId]:
        """Return the named participants."""
        return tuple(name for name in population if name in self.names)
