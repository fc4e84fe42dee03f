"""What both sides of a private run derive alike, without anybody's number of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from end_to_end.small_runs import small_run
from foedus.config import sections
from foedus.config.bounded_range import with_bounded_range
from foedus.config.ground import Ground
from foedus.config.loading import load_config
from foedus.config.privacy import record_plans
from foedus.config.private_halves import tells_weight_bound, with_agreed_range
from foedus.config.side import build_side


@pytest.mark.parametrize("local", [{"steps": 3}, {"epochs": 2}], ids=str)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_agreed_range_holds_what_anybody_may_send(tmp_path: Path, local: dict[str, Any], optimizer: str) -> None:
    config = load_config(
        small_run(
            tmp_path,
            privacy={"kind": "records", "epsilon": 4.0},
            secure_sum="masks",
            task={"labels": ["heart", "lung", "skin"]},
            local={**local, "optimizer": optimizer},
        )
    )
    assert isinstance(config.privacy, sections.RecordPrivacy)
    bound = 64 if tells_weight_bound(config) else 1
    side = build_side(
        config, Ground(("north", "south", "west"), ["heart", "lung", "skin"], None, bound), dry_rounds=True
    )
    agreed = with_agreed_range(side).config.secure_sum
    assert isinstance(agreed, sections.Masks)
    assert agreed.value_range is not None
    for records in (4, 7, 30, 64):
        plans = record_plans(config, config.privacy, {"it": records}).values()
        own = with_bounded_range(config, side.settings, side.initial, records, plans).secure_sum
        assert isinstance(own, sections.Masks)
        assert own.value_range is not None
        assert own.value_range <= agreed.value_range
