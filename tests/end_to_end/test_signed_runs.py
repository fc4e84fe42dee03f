"""A signed run from keys to verification, everything in its folder that could be changed, and resuming."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import foedus
from end_to_end.small_runs import SITES, records, small_run, weights
from foedus.api.keys import new_key, pin_key, read_handout, revoke_key, rotate_key
from foedus.cli.main import app
from foedus.core.errors import ConfigError, SignatureError
from foedus.federation.events import Event, RoundEnded
from foedus.privacy.ledger.places import participants_folder
from foedus.privacy.signing.log import Log, read_log
from foedus.privacy.signing.receipts import read_receipts
from foedus.privacy.signing.statements import Evaluated, RoundResult, RunBegun, Updated

pytestmark = pytest.mark.end_to_end


class StoppedError(Exception):
    """Somebody pulled the plug."""


def with_keys(folder: Path, **sections: Any) -> dict[str, Any]:
    """Return the configuration of a signed run, and make everybody's keys."""
    for name in ("coordinator", *SITES):
        new_key(name, folder / "keys")
    return small_run(folder, signatures={"kind": "ed25519", "keys": str(folder / "keys")}, **sections)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a signed run, with the keys two folders up."""
    return foedus.run(with_keys(tmp_path_factory.mktemp("signed"))).folder


def keys_of(run: Path) -> Path:
    return run.parents[1] / "keys"


def test_a_signed_run_is_the_run_without_signatures_and_all_of_it_verifies(finished: Path, tmp_path: Path) -> None:
    plain = foedus.run(small_run(tmp_path)).folder
    assert weights(plain) == weights(finished)
    found = foedus.verify(finished, keys=keys_of(finished))
    assert (found.rounds, found.participants, found.updates) == (2, 3, 6)
    assert not any(check.startswith("NOT CHECKED") for check in found.checks)
    assert not (plain / "log.jsonl").exists()


def test_the_log_holds_every_update_that_counted_and_no_figure_of_a_site(finished: Path) -> None:
    entries = [entry.statement for entry in read_log(finished / "log.jsonl")[0]]
    assert isinstance(entries[0], RunBegun)
    assert set(entries[0].roster) == set(SITES)
    updates = [(entry.round, entry.participant) for entry in entries if isinstance(entry, Updated)]
    assert updates == [(number, site) for number in (1, 2) for site in SITES]
    evaluated = [(entry.round, entry.participant) for entry in entries if isinstance(entry, Evaluated)]
    assert evaluated == [(number, site) for number in (0, 1, 2) for site in SITES]
    assert [entry.counted for entry in entries if isinstance(entry, RoundResult)] == [list(SITES)] * 2
    assert set(Updated.model_fields) == {"kind", "run", "round", "participant", "request", "update"}
    assert set(Evaluated.model_fields) == {"kind", "run", "round", "participant", "request", "figures"}


def test_without_pins_it_is_said_that_keys_are_nobody_s_yet(finished: Path) -> None:
    found = foedus.verify(finished)
    assert [check for check in found.checks if check.startswith("NOT CHECKED")] == [
        "NOT CHECKED: whose keys these are; give the folder of your pins (--keys)"
    ]


def edit(name: str, before: str, after: str) -> Callable[[Path], None]:
    """Return a change of a text file that replaces the last place where something stands."""

    def change(run: Path) -> None:
        head, found, tail = (run / name).read_text().rpartition(before)
        assert found
        (run / name).write_text(head + after + tail)

    return change


def flip_a_weight(run: Path) -> None:
    file = run / "model" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def flip_a_checkpoint(run: Path) -> None:
    file = run / "checkpoints" / "round-00002" / "server.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def drop_the_last_entry(run: Path) -> None:
    lines = (run / "log.jsonl").read_text().splitlines(keepends=True)
    (run / "log.jsonl").write_text("".join(lines[:-1]))


def drop_an_update(run: Path) -> None:
    lines = (run / "log.jsonl").read_text().splitlines(keepends=True)
    (run / "log.jsonl").write_text("".join(lines[:7] + lines[8:]))


def swap_two_updates(run: Path) -> None:
    lines = (run / "log.jsonl").read_text().splitlines(keepends=True)
    lines[7], lines[8] = lines[8], lines[7]
    (run / "log.jsonl").write_text("".join(lines))


def drop_an_evaluation(run: Path) -> None:
    lines = (run / "log.jsonl").read_text().splitlines(keepends=True)
    (run / "log.jsonl").write_text("".join(lines[:10] + lines[11:]))


def evaluate_before_training(run: Path) -> None:
    lines = (run / "log.jsonl").read_text().splitlines(keepends=True)
    (run / "log.jsonl").write_text("".join([*lines[:5], *lines[9:13], *lines[5:9], *lines[13:]]))


def rename_an_evaluated_site(run: Path) -> None:
    lines = (run / "rounds.jsonl").read_text().splitlines(keepends=True)
    record = json.loads(lines[0])
    record["evaluation"]["sites"]["somebody"] = record["evaluation"]["sites"].pop("south")
    (run / "rounds.jsonl").write_text("".join([json.dumps(record) + "\n", *lines[1:]]))


def drop_a_signature(run: Path) -> None:
    file = run / "attestation.json"
    attestation = json.loads(file.read_text())
    del attestation["signatures"]["south"]
    file.write_text(json.dumps(attestation, sort_keys=True, separators=(",", ":")) + "\n")


def claim_privacy(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"privacy": {"epsilon": 1.0}}))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (flip_a_weight, "model are not those that were signed"),
        (edit("model/config.json", "hidden", "bidden"), "model are not those that were signed"),
        (lambda run: (run / "model" / "extra.py").touch(), "model are not those that were signed"),
        (lambda run: shutil.rmtree(run / "model"), "holds no files"),
        (flip_a_checkpoint, "holds other parameters than those that were signed"),
        (edit("config.yaml", "batch_size: 4", "batch_size: 5"), "is not the configuration"),
        (edit("rounds.jsonl", '"stood": true', '"stood": false'), "something else of round 2"),
        (edit("rounds.jsonl", '"south"', '"somebody"'), "rounds.jsonl or summary.json is not as it was signed"),
        (edit("summary.json", '"headline"', '"headstone"'), "rounds.jsonl or summary.json is not as it was signed"),
        (edit("rounds.jsonl", '"stood": true', '"stood": NaN'), "something else of round 2"),
        (edit("rounds.jsonl", '"stood": true', '"stood": [['), "rounds.jsonl cannot be read"),
        (edit("log.jsonl", '"round":2', '"round":3'), "entry 22 of the log: the signature of coordinator"),
        (edit("log.jsonl", '"stood":true', '"stood":false'), "entry 22 of the log"),
        (edit("log.jsonl", '"kind":"update"', '"kind":"upgrade"'), "entry 17 of the log cannot be read"),
        (edit("log.jsonl", "}\n", "}"), "cut short"),
        (drop_the_last_entry, "ends within a round"),
        (drop_an_update, "entry 12 of the log: those who are said to count"),
        (swap_two_updates, "entry 13 of the log: those who are said to count"),
        (drop_an_evaluation, "the log was changed after it was signed"),
        (evaluate_before_training, "entry 9 of the log: a request for update of round 1 does not belong here"),
        (rename_an_evaluated_site, "figures of somebody after round 0, who signed none"),
        (edit("log.jsonl", '"total":"', '"total":"0'), "entry 22 of the log cannot be read"),
        (edit("attestation.json", '"participants":["north",', '"participants":['), "names others as those who counted"),
        (drop_a_signature, "not signed by south"),
        (edit("attestation.json", '"rounds":2', '"rounds":3'), "other rounds or parameters"),
        (edit("attestation.json", '"guarantee":null', '"guarantee":1'), "does not fit its attestation statement"),
        (edit("attestation.json", "\n", ""), "cut short"),
        (lambda run: (run / "attestation.json").unlink(), "the run is not over, or it was not signed"),
        (claim_privacy, "claims another privacy guarantee"),
        (lambda run: (run / "summary.json").write_text("[1]"), "no summary"),
    ],
)
def test_the_first_thing_that_does_not_hold_is_named(
    finished: Path, tmp_path: Path, change: Callable[[Path], None], reason: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    change(copy)
    with pytest.raises(SignatureError, match=reason):
        foedus.verify(copy, keys=keys_of(finished))


def test_a_log_that_the_coordinator_signs_anew_needs_every_participant_s_signature(
    finished: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    log = Log(copy / "log.jsonl")
    log.forget_after(14, log.tree.root(14).hex())  # the second round never happened
    with pytest.raises(SignatureError, match="the log was changed after it was signed"):
        foedus.verify(copy)


def test_keys_that_are_pinned_otherwise_or_revoked_are_refused_and_rotated_ones_are_not(
    finished: Path, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    shutil.copytree(keys_of(finished), keys)
    rotate_key("north", keys)
    foedus.verify(finished, keys=keys)
    new_key("east", tmp_path / "few")
    with pytest.raises(SignatureError, match="no key is pinned for coordinator"):
        foedus.verify(finished, keys=tmp_path / "few")
    with pytest.raises(SignatureError, match="pins no key"):
        foedus.verify(finished, keys=tmp_path / "nothing")
    revoke_key("south", keys)
    with pytest.raises(SignatureError, match="of south was revoked"):
        foedus.verify(finished, keys=keys)
    other = tmp_path / "other"
    for name in ("coordinator", *SITES):
        made = new_key(name, tmp_path / "forged" if name == "west" else tmp_path / "unused").file
        source = made if name == "west" else keys_of(finished) / f"{name}.pub"
        named = read_handout(source)
        assert named is not None
        pin_key(source, other, named[1])
    with pytest.raises(SignatureError, match="west uses the key"):
        foedus.verify(finished, keys=other)


def test_the_command_says_what_holds_and_ends_with_1_at_the_first_thing_that_does_not(
    finished: Path, tmp_path: Path
) -> None:
    runner = CliRunner(env={"COLUMNS": "200"})
    done = runner.invoke(app, ["verify", str(finished), "--keys", str(keys_of(finished))])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1].endswith("6 updates of 3 participants in 2 rounds")
    assert all(line.startswith("holds: ") for line in done.stdout.splitlines()[:-1])
    told = json.loads(runner.invoke(app, ["verify", str(finished), "--json"]).stdout)
    assert (told["holds"], told["updates"]) == (True, 6)
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    flip_a_weight(copy)
    done = runner.invoke(app, ["verify", str(copy)])
    assert done.exit_code == 1
    assert "DOES NOT HOLD: the files in" in done.stdout
    assert json.loads(runner.invoke(app, ["verify", str(copy), "--json"]).stdout)["holds"] is False


def test_a_resumed_run_has_one_log_without_the_rounds_that_were_played_twice(tmp_path: Path) -> None:
    config = with_keys(tmp_path, rounds={"count": 3})
    whole = foedus.run(config | {"name": "whole"}).folder

    def stop(event: Event) -> None:
        if isinstance(event, RoundEnded) and event.record["round"] == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        foedus.run(config, observe=stop)
    run = tmp_path / "runs" / "small"
    shutil.rmtree(run / "checkpoints" / "round-00002")  # killed before the second checkpoint was there …
    with (run / "log.jsonl").open("ab") as log:
        log.write(b'{"signature":"torn')  # … and while something was being logged
    resumed = foedus.resume(run).folder
    assert weights(resumed) == weights(whole)
    assert foedus.verify(resumed, keys=tmp_path / "keys").updates == 9
    assert [record["round"] for record in records(resumed)] == [0, 1, 2, 3]
    said = [[entry.statement.kind for entry in read_log(run / "log.jsonl")[0]] for run in (whole, resumed)]
    assert said[0] == said[1]
    north = participants_folder() / "north"
    mark = (run / ".run-id").read_text()[:8]
    kept = read_receipts(north / f"small-{mark}.receipts.jsonl")
    assert len(kept) == 7
    assert "7 receipts of north" in foedus.verify(resumed, receipts=[north / f"small-{mark}.receipts.jsonl"]).checks[-1]
    withdrawn = read_receipts(
        north / f"small-{mark}.withdrawn.jsonl"
    )  # the coordinator went back behind what it showed
    assert [each.signed.statement.kind for each in withdrawn] == ["update", "evaluation"]


def test_a_run_is_not_gone_on_with_after_its_log_or_keys_changed(tmp_path: Path) -> None:
    config = with_keys(tmp_path)
    run = foedus.run(config).folder
    content = (run / "log.jsonl").read_bytes()
    drop_the_last_entry(run)
    with pytest.raises(SignatureError, match="does not begin with the 23 entries of the last checkpoint"):
        foedus.resume(run)
    (run / "log.jsonl").write_bytes(content)
    foedus.resume(run)
    foedus.verify(run)
    rotate_key("north", tmp_path / "keys")
    with pytest.raises(SignatureError, match="was begun with other keys"):
        foedus.resume(run)


def test_keys_that_are_missing_are_named_before_the_first_round(tmp_path: Path) -> None:
    config = with_keys(tmp_path)
    (tmp_path / "keys" / "south.key").unlink()
    with pytest.raises(ConfigError, match="foedus keys new south --folder"):
        foedus.run(config)
    revoke_key("west", tmp_path / "keys")
    new_key("south", tmp_path / "spare")
    shutil.copy(tmp_path / "spare" / "south.key", tmp_path / "keys")
    with pytest.raises(SignatureError, match="south uses the key"):
        foedus.run(config | {"name": "other"})


def test_encrypted_keys_sign_with_the_passphrase_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = with_keys(tmp_path, rounds={"count": 1})
    (tmp_path / "keys" / "north.key").unlink()
    pins = json.loads((tmp_path / "keys" / "pins.json").read_text())
    del pins["names"]["north"]
    (tmp_path / "keys" / "pins.json").write_text(json.dumps(pins, sort_keys=True, separators=(",", ":")))
    new_key("north", tmp_path / "keys", "secret words")
    with pytest.raises(SignatureError, match="its passphrase is needed"):
        foedus.run(config)
    monkeypatch.setenv("FOEDUS_KEY_PASSPHRASE", "secret words")
    foedus.verify(foedus.run(config | {"name": "other"}).folder, keys=tmp_path / "keys")
