import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

import foedus
from foedus.cli.main import app
from foedus.core.errors import ConfigError

runner = CliRunner(env={"COLUMNS": "200"})

PLAYS = """\
task: {kind: TASK, text: text, max_length: 32, packing: true}
model:
  kind: architecture
  type: TYPE
  options: OPTIONS
  tokenizer: TOKENIZER
participants: {kind: scenario, scenario: {kind: plays, participants: 2}}
local: {steps: 2, batch_size: 4}
rounds: {count: 1}
"""
GPT2 = "{n_embd: 16, n_layer: 1, n_head: 2, n_positions: 32}"
BERT = "{hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16}"


def trained(folder: Path, task: str, kind: str, options: str, tokenizer: str) -> Path:
    text = PLAYS.replace("TASK", task).replace("TYPE", kind).replace("OPTIONS", options)
    (folder / "tiny.yaml").write_text(text.replace("TOKENIZER", tokenizer))
    done = runner.invoke(app, ["run", str(folder / "tiny.yaml"), "--quiet", "--output", str(folder)])
    assert done.exit_code == 0, done.output
    return folder / "tiny"


@pytest.mark.end_to_end
def test_a_model_with_a_tokenizer_learnt_federatedly_writes(tmp_path: Path) -> None:
    run = trained(tmp_path, "causal_lm", "gpt2", GPT2, "{kind: bpe, vocabulary: 280}")
    asked = ["generate", str(run), "--prompt", "To be", "--max-new-tokens", "40", "--samples", "2", "--seed", "3"]
    done = runner.invoke(app, [*asked, "--json"])
    assert done.exit_code == 0, done.output
    found: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert [entry["prompt"] for entry in found] == ["To be", "To be"]
    assert [entry["text"] for entry in found] == foedus.generate(run, "To be", max_new_tokens=40, samples=2, seed=3)
    assert runner.invoke(app, asked).stdout.startswith("To be" + found[0]["text"])

    summary = json.loads((run / "summary.json").read_text())
    assert summary["final"]["all"]["bits_per_byte"] > 0
    assert len(summary["samples"]) == 3
    assert 'id="samples"' in (run / "report.html").read_text()
    assert any("merges were learnt from sums of counts" in note for note in summary["notes"])
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    model = AutoModelForCausalLM.from_pretrained(run / "model")
    assert len(tokenizer) == model.config.vocab_size == 280
    assert model.config.bos_token_id == tokenizer.bos_token_id


@pytest.mark.end_to_end
def test_a_model_that_fills_gaps_continues_no_text(tmp_path: Path) -> None:
    run = trained(tmp_path, "masked_lm", "bert", BERT, "bytes")
    done = runner.invoke(app, ["generate", str(run)])
    assert done.exit_code == 2
    assert "holds a model for masked_lm, which continues no text; use foedus predict" in done.stderr
    with pytest.raises(ConfigError):
        foedus.generate(run)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    done = runner.invoke(app, ["generate", str(tmp_path)])
    assert done.exit_code == 2
    assert "holds no run; name the folder that foedus run wrote" in done.stderr
