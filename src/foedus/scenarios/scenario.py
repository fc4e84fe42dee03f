from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foedus.data.sites import Site


@dataclass(frozen=True)
class Scenario:
    """Ready-made participants.

    labels: in the order in which a model numbers them.
    note: what the data are and are not, where they come from and under which licence; reports show it.
    """

    sites: Sequence[Site]
    labels: Sequence[str]
    note: str
