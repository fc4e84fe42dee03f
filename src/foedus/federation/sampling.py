"""Who takes part in a round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from foedus.core.errors import ConfigError
from foedus.core.seeds import SeedKey
from foedus.federation.messages import ParticipantId


class Sampler(Protocol):
    """Chooses the participants of a round."""

    def select(self, population: Sequence[ParticipantId], key: SeedKey) -> Sequence[ParticipantId]:
        """Return the cohort, in the population's order."""
        ...


@dataclass(frozen=True)
class Everyone:
    """All participants, every round."""

    def select(self, population: Sequence[ParticipantId], key: SeedKey) -> Sequence[ParticipantId]:
        """Return the population."""
        return tuple(population)


@dataclass(frozen=True)
class FixedSize:
    """So many participants, each subset as likely as any other."""

    size: int

    def select(self, population: Sequence[ParticipantId], key: SeedKey) -> Sequence[ParticipantId]:
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
    """Each participant by an independent coin; a cohort may be empty. rate: the coin's probability."""

    rate: float

    def select(self, population: Sequence[ParticipantId], key: SeedKey) -> Sequence[ParticipantId]:
        """Return those whose coin came up."""
        coins = key.numpy().random(len(population))
        return tuple(name for name, coin in zip(population, coins, strict=True) if coin < self.rate)


@dataclass(frozen=True)
class Only:
    """Always the same participants: how a baseline trains one of them beside others that only evaluate."""

    names: Sequence[ParticipantId]

    def select(self, population: Sequence[ParticipantId], key: SeedKey) -> Sequence[ParticipantId]:
        """Return the named participants."""
        return tuple(name for name in population if name in self.names)
