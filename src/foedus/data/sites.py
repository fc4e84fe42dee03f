from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:  # the configuration imports this module, and pyarrow takes a third of a second
    import pyarrow as pa

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Site:
    """One participant's rows.

    splits: a split may be absent; the tables hold only the columns that were asked for.
    """

    name: str
    splits: Mapping[Split, pa.Table]

    def rows(self, split: Split) -> int:
        """Return how many rows the split has; 0 if it is absent."""
        return int(self.splits[split].num_rows) if split in self.splits else 0
