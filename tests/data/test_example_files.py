from __future__ import annotations

from pathlib import Path

from foedus.core.seeds import SeedKey
from foedus.data.files import find_sites
from foedus.data.labels import agree_on_labels
from foedus.data.splitting import split_site

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_emergency_departments_can_be_read_and_split_by_category() -> None:
    columns = ["description", "body_region"]
    sites = find_sites(EXAMPLES, "emergency/*.csv", columns, columns, by="category")
    assert [site.name for site in sites] == ["city_hospital", "hand_clinic", "sports_clinic", "trauma_centre"]
    assert sum(site.rows("train") for site in sites) == 482
    assert len(agree_on_labels({site.name: site.splits["train"]["body_region"].to_pylist() for site in sites})) == 10
    split = [split_site(site, {"test": 0.25}, SeedKey.from_seed(0), by="category") for site in sites]
    train, test = (
        {c for site in split for c in site.splits[name]["category"].to_pylist()} for name in ("train", "test")
    )
    assert not train & test
    assert 0.2 < sum(site.rows("test") for site in split) / 482 < 0.3
