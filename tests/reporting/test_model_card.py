import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from foedus.core.errors import RunFolderError
from foedus.reporting.model_card import markdown, write_model_card
from reporting.made_runs import CHAPTERS, MadeRun, hospitals, make_run

HOSTILE = ("a|b", "<img src=x>", "*bold* [x](y)", "---", "x\n# Title", "{{7*7}}", "`code`")


def card_of(folder: Path) -> Any:
    """Return the card as the hub's own class reads it, whose metadata have no static types."""
    return ModelCard.load(write_model_card(folder))


def test_the_card_lies_in_the_model_folder_and_loads(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    assert write_model_card(folder) == folder / "model" / "README.md"
    data = card_of(folder).data
    assert data.license == "apache-2.0"
    assert data.pipeline_tag == "text-classification"
    assert data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert {"foedus", "federated-learning", "lora"} <= set(data.tags)
    results = {result.metric_type: result.metric_value for result in data.eval_results}
    assert list(results) == ["accuracy", "macro_f1", "loss"]
    assert results["accuracy"] == pytest.approx(0.79, abs=0.02)


def test_loading_and_writing_the_card_again_changes_nothing(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    assert str(card_of(folder)) == (folder / "model" / "README.md").read_text()


def test_the_metadata_is_what_the_hub_asks_for(tmp_path: Path) -> None:
    """The hub's own check needs the network; these are its rules that can be broken from here."""
    folder = make_run(tmp_path, MadeRun(sites=HOSTILE))
    text = write_model_card(folder).read_text()
    block = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    assert block is not None
    data = yaml.safe_load(block[1])
    for name in ("base_model", "library_name", "license", "pipeline_tag", "base_model_relation"):
        assert isinstance(data[name], str)
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", data["base_model"])
    assert all(isinstance(tag, str) for tag in data["tags"])
    for result in data["model-index"][0]["results"]:
        assert set(result) == {"task", "dataset", "metrics"}
        assert result["dataset"]["type"]
        assert result["dataset"]["name"]
        assert all(math.isfinite(metric["value"]) for metric in result["metrics"])


def test_a_language_model_is_tried_by_letting_it_write_and_its_cost_is_told(tmp_path: Path) -> None:
    tokens = {"task": "causal_lm", "tokens": {"trained": 4_800_000, "per_second": 48_000.0}}
    text = write_model_card(make_run(tmp_path, MadeRun(headline="perplexity", steps=50, summary=tokens))).read_text()
    assert 'foedus generate clinics --prompt "your text"' in text
    assert "- **Tokens trained on:** 4.8 million, 48,000 in a second of training\n" in text
    assert "50.0 times fewer up, and 50.0 both ways, than fp32 after every step" in text


def test_an_adapter_is_a_peft_model_and_a_merged_one_is_not(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    assert card_of(folder).data.library_name == "transformers"
    assert card_of(folder).data.base_model_relation == "finetune"
    (folder / "model" / "adapter_config.json").write_text("{}")
    assert card_of(folder).data.library_name == "peft"
    assert card_of(folder).data.base_model_relation == "adapter"


@pytest.mark.parametrize(
    ("model", "reference", "expected"),
    [
        ("org/bert-base", "org/bert-base", "org/bert-base"),
        ("distilbert-base-uncased", "distilbert-base-uncased", "distilbert-base-uncased"),
        ("models/bert", "/home/me/models/bert", None),
        ("/home/me/bert", "/home/me/bert", None),
        ("gpt2", None, None),  # the architecture, from scratch
    ],
)
def test_only_a_model_of_the_hub_is_named_as_base(
    tmp_path: Path, model: str, reference: str | None, expected: str | None
) -> None:
    folder = make_run(tmp_path, MadeRun(summary={"model": model, "base_model": reference}))
    assert card_of(folder).data.base_model == expected


@pytest.mark.parametrize(
    ("licence", "identifier", "name"),
    [("Apache-2.0", "apache-2.0", None), ("Our own 1.0", "other", "Our own 1.0"), (None, None, None)],
)
def test_licences_are_given_as_the_hub_lists_them(
    tmp_path: Path, licence: str | None, identifier: str | None, name: str | None
) -> None:
    data = card_of(make_run(tmp_path, MadeRun(summary={"license": licence}))).data
    assert (data.license, data.license_name) == (identifier, name)


def test_the_card_says_data_training_results_and_limits(tmp_path: Path) -> None:
    text = write_model_card(make_run(tmp_path, MadeRun(fallen={2: "too few"}))).read_text()
    for words in (
        "8 sites trained a model together: accuracy 0.",
        "fedavg, 10 rounds, 1 of which did not stand",
        "26.3 MB to them",
        "torch 2.13.0",
        "descriptions of ICD-10-CM codes, not clinical notes",
        "| heart_institute | 0.",
        "no differential privacy",
        "simulated in one process",
        *CHAPTERS,
    ):
        assert words in text, words
    assert "http" not in text


def test_metrics_that_are_not_finite_stay_out_of_the_metadata_but_not_of_the_text(tmp_path: Path) -> None:
    folder = make_run(tmp_path, MadeRun(final={"accuracy": math.nan, "macro_f1": math.inf, "loss": math.nan}))
    card = card_of(folder)
    assert card.data.eval_results is None
    assert "| accuracy | NaN |" in card.text


def test_a_run_without_figures_by_site_or_without_evaluation_has_a_card(tmp_path: Path) -> None:
    private = MadeRun(name="private", per_site=False, summary={"sites": None, "labels": None, "data_note": None})
    assert "does not tell what each site holds" in card_of(make_run(tmp_path, private)).text
    blind = MadeRun(name="blind", evaluated=False, summary={"tuning": None, "seed": None, "versions": {}})
    assert "The model was not evaluated." in card_of(make_run(tmp_path, blind)).text


def test_names_cannot_break_the_tables(tmp_path: Path) -> None:
    text = write_model_card(make_run(tmp_path, MadeRun(sites=HOSTILE, name="a`b"))).read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    widths = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
    assert len(widths) == 2  # sites' table and metrics' table
    assert "<img" not in text
    assert "# Title" not in text.replace(r"\# Title", "")
    assert "`code`" not in text


def test_many_sites_are_cut_in_the_card(tmp_path: Path) -> None:
    text = write_model_card(make_run(tmp_path, MadeRun(sites=hospitals(64)))).read_text()
    assert text.count("| hospital_") == 40
    assert "24 more are in the run's report." in text


def test_text_keeps_its_looks_in_markdown() -> None:
    assert markdown("a_b  c\n|") == r"a_b c \|"


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError):
        write_model_card(tmp_path)


def test_the_card_says_where_the_sites_were(tmp_path: Path) -> None:
    apart = make_run(tmp_path, MadeRun(summary={"between_organisations": True}))
    text = write_model_card(apart).read_text()
    assert "simulated" not in text
    assert "over mTLS" in text
