"""A participant that fails costs its own update only; what it holds is told to nobody."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import foedus
from end_to_end.small_runs import SITES, losses, records, small_run, weights
from foedus.cli.main import app
from foedus.core.errors import RoundError
from foedus.core.seeds import SeedKey
from foedus.federation.checkpoints import load_trees
from reporting.page_reading import assert_sound

pytestmark = pytest.mark.end_to_end

SECRET = "xylophone zanzibar"  # noqa: S105 - what a patient said, which must not get anywhere
# Fails at some sites as a library would: with an error whose message quotes what it was working on.
FRAGILE = f"""\
from dataclasses import replace

from foedus.federation.protocols import Algorithm
from foedus.strategies.fedavg import fedavg


def algorithm(fails: list, from_round: int = 0) -> Algorithm:
    def local(task, broadcast, memory):
        if task.key.digest.hex() in fails and broadcast.clock.round >= from_round:
            raise ValueError("cannot parse {SECRET!r}")
        return fedavg().local(task, broadcast, memory)

    return replace(fedavg(), local=local)
"""


def fragile_run(folder: Path, fails: Sequence[str], from_round: int = 0, **sections: Any) -> dict[str, Any]:
    """Return a run in which these sites fail from a round on, and in whose rows the secret stands."""
    config = small_run(folder, **sections)
    for site in SITES:
        file = folder / "sites" / f"{site}.csv"
        file.write_text(file.read_text().replace("skin ", f"skin {SECRET} "))
    (folder / "fragile.py").write_text(FRAGILE)
    keys = [SeedKey.from_seed(0).child("participant", site).digest.hex() for site in fails]
    options = {"fails": keys, "from_round": from_round}
    return config | {"strategy": {"kind": "custom", "path": str(folder / "fragile.py"), "options": options}}


def test_a_participant_that_fails_is_left_out_with_the_reason(tmp_path: Path) -> None:
    result = foedus.run(fragile_run(tmp_path, ["south"]))
    for record in records(result.folder)[1:]:
        assert record["stood"]
        assert (record["reports"], record["cohort"]) == (2, list(SITES))
        assert set(record["left_out"]) == {"south"}
        assert record["left_out"]["south"].startswith("raised ValueError at fragile.py:")
        assert set(record["sites"]) == {"north", "west"}
        assert set(record["evaluation"]["sites"]) == set(SITES)  # it can still measure
    page = assert_sound(result.report.read_text())
    assert "south was left out of at least one round" in page.text
    assert "raised ValueError at fragile.py" in page.text
    with pytest.raises(ValueError, match=SECRET):
        foedus.run(fragile_run(tmp_path, ["south"]), overwrite=True, debug=True)


def test_no_word_of_a_row_gets_into_the_run_folder_or_onto_the_screen(tmp_path: Path) -> None:
    config = fragile_run(tmp_path, ["south"])
    (tmp_path / "secret.yaml").write_text(yaml.safe_dump(config | {"name": "secret"}))
    for output in ([], ["--json"]):
        done = CliRunner().invoke(app, ["run", str(tmp_path / "secret.yaml"), "--overwrite", *output])
        assert done.exit_code == 0, done.output
        said = {"screen": done.output.encode(), **files(tmp_path / "runs" / "secret")}
        assert {"rounds.jsonl", "summary.json", "report.html", "model/README.md", "config.yaml"} < set(said)
        for name, content in said.items():
            for word in SECRET.split():
                assert word.encode() not in content.lower(), name


def files(folder: Path) -> Mapping[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_too_few_reports_end_the_run_and_its_checkpoint_stays(tmp_path: Path) -> None:
    config = fragile_run(tmp_path, ["south", "west"], 2, rounds={"count": 9, "min_reports": 2})
    (tmp_path / "failing.yaml").write_text(yaml.safe_dump(config | {"name": "failing"}))
    done = CliRunner().invoke(app, ["run", str(tmp_path / "failing.yaml"), "--quiet"])
    run = tmp_path / "runs" / "failing"
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.startswith(
        "3 rounds in a row did not stand, the last one because 1 of 3 updates could be used, min_reports is 2 "
        "(south raised ValueError at fragile.py:"
    )
    assert done.stderr.endswith(f"{run} holds the state; mend the cause and go on with --resume\n")
    assert [record["stood"] for record in records(run)[1:]] == [True, True, False, False, False]
    saved = [load_trees(place / "server.safetensors")["params"] for place in sorted((run / "checkpoints").iterdir())]
    assert all(tensor.equal(saved[1][name]) for name, tensor in saved[0].items())  # nothing moved
    assert not (run / "model").exists()

    # The cause is mended, and the run goes on to its end.
    (tmp_path / "fragile.py").write_text(FRAGILE.replace("raise", "pass  # raise"))
    result = foedus.resume(run)
    assert [record["stood"] for record in result.rounds[1:]] == [True, True, False, False, False, *[True] * 4]
    assert "3 of 9 rounds did not stand" in assert_sound(result.report.read_text()).text


def test_a_participant_whose_loss_is_no_number_is_left_out(tmp_path: Path) -> None:
    """North makes one step and never meets what its giant step did; the others do, and report NaN."""
    config = small_run(tmp_path, local={"learning_rate": 1e30}, rounds={"count": 2})
    rows = (tmp_path / "sites" / "north.csv").read_text().splitlines()
    (tmp_path / "sites" / "north.csv").write_text("\n".join([*rows[:6], ""]))
    result = foedus.run(config)
    first, second = records(result.folder)[1:]
    assert (first["stood"], set(first["left_out"])) == (True, {"south", "west"})
    assert first["left_out"]["south"] == "its training loss is nan; a smaller local.learning_rate may help"
    # Now the model itself is of no use, which the record says in plain words.
    assert set(first["evaluation"]["left_out"]) == set(SITES)
    assert first["evaluation"]["all"] == {}
    assert not second["stood"]
    assert second["reason"] == "0 of 3 updates could be used, min_reports is 1"
    page = assert_sound(result.report.read_text())
    assert "its training loss is nan" in page.text
    assert "1 of 2 rounds did not stand" in page.text
    json.loads((result.folder / "summary.json").read_text(), parse_constant=pytest.fail)


def test_a_participant_whose_texts_hold_nothing_to_learn_is_left_out(tmp_path: Path) -> None:
    config = small_run(tmp_path, "bert", "masked_lm")
    zero_width = "\u200b"  # a cell that is filled, and of which the tokenizer keeps nothing
    (tmp_path / "sites" / "south.csv").write_text("note\n" + f"{zero_width}\n" * 10)
    result = foedus.run(config)
    for record in records(result.folder)[1:]:
        assert set(record["left_out"]) == {"south"}
        assert "nothing to learn from" in record["left_out"]["south"]
    assert losses(result.folder)[-1] < losses(result.folder)[0]
    assert set(result.summary["final"]["sites"]) >= {"north", "west"}


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_run_in_which_no_round_stands_fails_and_leaves_no_model(rounds: int, tmp_path: Path) -> None:
    config = fragile_run(tmp_path, SITES, rounds={"count": rounds})
    with pytest.raises(RoundError, match="did not stand" if rounds == 3 else "none of the rounds stood"):
        foedus.run(config)
    run = tmp_path / "runs" / "small"
    with pytest.raises(
        RoundError, match=r"none of the rounds stood, .* \(0 of 3 updates could be used, min_reports is 1"
    ):
        foedus.resume(run)  # there is no round left that could mend it
    assert not (run / "model").exists()


def test_small_draws_are_no_failure(tmp_path: Path) -> None:
    """A Poisson cohort may be empty; such a round changes nothing and ends nothing."""
    result = foedus.run(small_run(tmp_path, rounds={"count": 12, "cohort": {"kind": "poisson", "rate": 0.05}}))
    empty = [record for record in records(result.folder)[1:] if not record["cohort"]]
    assert len(empty) > 3
    for record in empty:
        assert (record["stood"], record["train"], record["bytes"]) == (False, {}, {"down": 0, "up": 0})
    assert result.summary["finished"]
    assert weights(result.folder)
    assert_sound(result.report.read_text())
