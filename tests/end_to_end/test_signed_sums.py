"""Signed runs whose rounds do not show updates: secure sums under masks, and rounds that hide who takes part."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import foedus
from end_to_end.small_runs import SITES, records, small_run, weights
from foedus.api.keys import new_key, pin_key, read_handout, rotate_key
from foedus.core.errors import SecureSumError, SignatureError
from foedus.federation.events import Event, RoundEnded
from foedus.privacy.ledger.places import participants_folder
from foedus.privacy.secure_sum.roster import Roster
from foedus.privacy.secure_sum.terms import Terms
from foedus.privacy.signing.identity import Identity
from foedus.privacy.signing.key_folder import own_identity, pinned_keys
from foedus.privacy.signing.log import Log, read_log
from foedus.privacy.signing.receipts import check_receipts, read_receipts
from foedus.privacy.signing.statements import Masked, RoundResult, RunBegun, Signed, Summed, sign
from tiny_models import LABELS

pytestmark = pytest.mark.end_to_end

MASKS: dict[str, Any] = {
    "secure_sum": {"kind": "masks", "value_range": 4, "min_cohort": 3},
    "evaluation": {"per_site": False},
}
HIDDEN: dict[str, Any] = {
    "task": {"labels": list(LABELS)},
    "privacy": {"kind": "participants", "noise_multiplier": 1.0, "evaluation": "public", "delta": 0.1},
    "rounds": {"count": 3, "cohort": {"kind": "poisson", "rate": 0.5}},
}


def with_keys(folder: Path, **sections: Any) -> dict[str, Any]:
    for name in ("coordinator", *SITES):
        new_key(name, folder / "keys")
    return small_run(folder, signatures={"kind": "ed25519", "keys": str(folder / "keys")}, **sections)


def receipts_of(run: Path, site: str) -> Path:
    short = (run / ".run-id").read_text()[:8]
    return participants_folder() / site / f"{run.name}-{short}.receipts.jsonl"


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return foedus.run(with_keys(tmp_path_factory.mktemp("masked"), **MASKS)).folder


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return foedus.run(with_keys(tmp_path_factory.mktemp("hidden"), **HIDDEN)).folder


def keys_of(run: Path) -> Path:
    return run.parents[1] / "keys"


def test_a_masked_run_is_signed_and_all_of_it_verifies(masked: Path, tmp_path: Path) -> None:
    assert weights(foedus.run(small_run(tmp_path, **MASKS)).folder) == weights(masked)
    files = [receipts_of(masked, site) for site in SITES]
    found = foedus.verify(masked, keys=keys_of(masked), receipts=files)
    assert (found.rounds, found.updates) == (2, 6)
    assert "the participants of 5 secure sums signed their terms, and whose vectors are in them" in found.checks
    assert [f"5 receipts of {site} are for this log" for site in SITES] == list(found.checks[-3:])


def test_the_log_and_the_attestation_say_who_is_in_each_sum_and_nothing_of_single_updates(masked: Path) -> None:
    entries = [entry.statement for entry in read_log(masked / "log.jsonl")[0]]
    sums = [(entry.round, entry.purpose, entry.survivors) for entry in entries if isinstance(entry, Summed)]
    everybody = [0, 1, 2]
    assert sums == [
        (0, "evaluation", everybody),
        *((number, purpose, everybody) for number in (1, 2) for purpose in ("update", "evaluation")),
    ]
    assert {entry.kind for entry in entries} == {"run", "request", "masked", "sum", "result"}
    attestation = json.loads((masked / "attestation.json").read_text())["attestation"]
    assert attestation["counted"] == [{"participants": list(SITES), "rounds": [1, 2]}]
    vectors = [entry.vector for entry in entries if isinstance(entry, Masked)]
    assert len(set(vectors)) == 15


def test_an_encrypted_run_is_signed_as_a_masked_one_is(tmp_path: Path) -> None:
    pytest.importorskip("tenseal")
    config = with_keys(tmp_path, rounds={"count": 1}, evaluation={"per_site": False, "every": 1}, secure_sum="ckks")
    found = foedus.verify(foedus.run(config).folder, keys=tmp_path / "keys")
    assert found.updates == 3
    assert "the participants of 3 secure sums signed their terms, and whose vectors are in them" in found.checks


Change = Callable[[list[Signed], Callable[[Any, str], Signed]], None]


def in_sum(place: int, **fields: Any) -> Change:
    """Return a change of a logged sum's statement, which the coordinator signs anew."""

    def change(entries: list[Signed], signed: Callable[[Any, str], Signed]) -> None:
        where = [n for n, entry in enumerate(entries) if isinstance(entry.statement, Summed)][place]
        stated = entries[where].statement
        new = {name: value(getattr(stated, name)) if callable(value) else value for name, value in fields.items()}
        entries[where] = signed(stated.model_copy(update=new), "coordinator")

    return change


def of_another_sum(entries: list[Signed], signed: Callable[[Any, str], Signed]) -> None:
    """Put the first round's sum in the place of the second's, under the second's number."""
    places = [n for n, entry in enumerate(entries) if isinstance(entry.statement, Summed)]
    first = entries[places[1]].statement
    entries[places[3]] = signed(first.model_copy(update={"round": 2}), "coordinator")


def without_the_sum(entries: list[Signed], signed: Callable[[Any, str], Signed]) -> None:
    del entries[next(n for n, entry in enumerate(entries) if isinstance(entry.statement, Summed))]


def without_a_vector(entries: list[Signed], signed: Callable[[Any, str], Signed]) -> None:
    del entries[next(n for n, entry in enumerate(entries) if isinstance(entry.statement, Masked))]


def somebody_else_s_vector(entries: list[Signed], signed: Callable[[Any, str], Signed]) -> None:
    where = next(n for n, entry in enumerate(entries) if isinstance(entry.statement, Masked))
    entries[where] = signed(entries[where].statement.model_copy(update={"vector": "0" * 64}), "coordinator")


def vector_of_another_roster(entries: list[Signed], signed: Callable[[Any, str], Signed]) -> None:
    where = next(n for n, entry in enumerate(entries) if isinstance(entry.statement, Masked))
    entries[where] = signed(entries[where].statement.model_copy(update={"roster": "0" * 64}), "north")


def fewer_counted(entries: list[Signed], signed: Callable[[Any, str], Signed]) -> None:
    entries[-1] = signed(entries[-1].statement.model_copy(update={"counted": ["north", "south"]}), "coordinator")


def no_total(entries: list[Signed], signed: Callable[[Any, str], Signed]) -> None:
    entries[-1] = signed(entries[-1].statement.model_copy(update={"total": None}), "coordinator")


def flipped(text: str) -> str:
    return text[:-1] + ("0" if text[-1] != "0" else "1")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (in_sum(1, survivors=[0, 1]), "is signed by one who is not in it"),
        (in_sum(1, survivors=[1, 0, 2]), "out of order, or twice"),
        (in_sum(1, survivors=[0, 1, 3]), "did not all share their secrets"),
        (in_sum(1, sharers=[0, 1, 2, 3]), "are not on the roster"),
        (in_sum(1, agreement=lambda a: dict(list(a.items())[:2])), "has 2 signatures; 3 of those in it must sign"),
        (in_sum(1, agreement=lambda a: dict.fromkeys(a, "ab" * 64)), "the list of survivors of north is not signed"),
        (in_sum(1, roster=flipped), "what west showed is not signed"),
        (
            in_sum(1, terms=lambda t: t.replace(b"text_classification".hex(), b"text_classificatioN".hex())),
            "other terms",
        ),
        (in_sum(1, terms=flipped), "signed other terms"),
        (in_sum(1, terms="ab"), "the invitation is cut short"),
        (in_sum(1, round=2), "a secure sum does not belong here"),
        (in_sum(1, purpose="evaluation"), "a secure sum does not belong here"),
        (of_another_sum, "the terms of its secure sum are of another run, round or purpose"),
        (without_the_sum, "masked vectors are logged, and not whose sum"),
        (without_a_vector, "are not those whose masked vectors are logged"),
        (somebody_else_s_vector, "signed by coordinator in place of north"),
        (vector_of_another_roster, "are not those whose masked vectors are logged"),
        (fewer_counted, "those who are said to count are not those"),
        (no_total, "none where somebody does"),
    ],
)
def test_a_coordinator_that_signs_another_log_is_found_out(
    masked: Path, tmp_path: Path, change: Change, reason: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(masked, copy)

    def signed(statement: Any, signer: str) -> Signed:
        return sign(statement, own_identity(keys_of(masked), signer), signer)

    entries = list(read_log(copy / "log.jsonl")[0])
    change(entries, signed)
    (copy / "log.jsonl").unlink()
    Log(copy / "log.jsonl").extend(entries)
    with pytest.raises(SignatureError, match=reason):
        foedus.verify(copy)


def test_updates_in_the_clear_are_none_of_a_masked_run(masked: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(masked, copy)
    text = (copy / "config.yaml").read_text()
    assert "threshold: null" in text
    (copy / "config.yaml").write_text(text.replace("threshold: null", "threshold: 2"))
    with pytest.raises(SignatureError, match="is not the configuration that the run began with"):
        foedus.verify(copy)


def test_receipts_for_another_log_are_not_for_this_one(masked: Path, hidden: Path, tmp_path: Path) -> None:
    file = receipts_of(masked, "north")
    with pytest.raises(SignatureError, match="the signature of north does not fit its masked statement"):
        foedus.verify(hidden, receipts=[file])
    lines = file.read_text().splitlines(keepends=True)
    for name, content, reason in (
        ("cut", "".join(lines[1:]), "starts from a log of"),
        ("none", "", "holds no receipts"),
        ("mixed", lines[0] + receipts_of(masked, "south").read_text(), "hold one of south"),
        ("changed", lines[0].replace('"index":2', '"index":3') + "".join(lines[1:]), "does not lead to the log's root"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(SignatureError, match=reason):
            foedus.verify(masked, receipts=[tmp_path / name])


def test_a_log_that_was_written_anew_does_not_fit_the_receipts(masked: Path, tmp_path: Path) -> None:
    """The coordinator's key signs another result; the receipts still tell."""
    entries, _ = read_log(masked / "log.jsonl")
    coordinator = own_identity(keys_of(masked), "coordinator")
    last = sign(entries[-1].statement.model_copy(update={"params": "0" * 64}), coordinator, "coordinator")
    log = Log(tmp_path / "log.jsonl")
    log.extend([*entries[:-1], last])
    begun = entries[0].statement
    assert isinstance(begun, RunBegun)
    kept = read_receipts(receipts_of(masked, "west"))
    with pytest.raises(SignatureError, match="west was shown a log of 28 entries"):
        check_receipts(kept, begun, log.tree)


def test_rounds_that_hide_who_takes_part_are_sealed_and_only_their_participants_can_tell(hidden: Path) -> None:
    found = foedus.verify(hidden, keys=keys_of(hidden))
    assert any(check.startswith("epsilon computed anew") for check in found.checks)
    entries = [entry.statement for entry in read_log(hidden / "log.jsonl")[0]]
    results = [entry for entry in entries if isinstance(entry, RoundResult)]
    assert [(r.cohort, r.counted, r.total) for r in results] == [([], [], None)] * 3
    assert len({r.sealed for r in results}) == 3
    assert {entry.kind for entry in entries} == {"run", "request", "evaluation", "result"}
    requests = [entry.purpose for entry in entries if entry.kind == "request"]
    assert requests == ["evaluation"] * 4
    attestation = json.loads((hidden / "attestation.json").read_text())["attestation"]
    assert attestation["counted"] == [{"participants": [], "rounds": [1, 2, 3]}]
    for site in SITES:
        file = receipts_of(hidden, site)
        assert f"receipts of {site} are for this log" in foedus.verify(hidden, receipts=[file]).checks[-2]
        sealed = [kept for kept in read_receipts(file) if kept.opening is not None]
        assert all(kept.signed.statement.kind == "update" for kept in sealed)


def test_a_resumed_masked_run_verifies_and_who_saw_the_longer_log_keeps_the_proof(tmp_path: Path) -> None:
    config = with_keys(tmp_path, rounds={"count": 3}, **MASKS)

    def stop(event: Event) -> None:
        if isinstance(event, RoundEnded) and event.record["round"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        foedus.run(config, observe=stop)
    run = tmp_path / "runs" / "small"
    assert len(read_receipts(receipts_of(run, "north"))) == 5
    resumed = foedus.resume(run).folder
    files = [receipts_of(run, site) for site in SITES]
    assert foedus.verify(resumed, keys=tmp_path / "keys", receipts=files).updates == 9
    assert [record["round"] for record in records(resumed)] == [0, 1, 2, 3]
    assert len(read_receipts(files[0])) == 7


def test_a_key_that_is_rotated_between_two_runs_verifies_both_for_who_took_in_the_change(tmp_path: Path) -> None:
    config = with_keys(tmp_path, rounds={"count": 1}, **MASKS)
    others = tmp_path / "others"
    for name in ("coordinator", *SITES):
        handout = read_handout(tmp_path / "keys" / f"{name}.pub")
        assert handout is not None
        pin_key(tmp_path / "keys" / f"{name}.pub", others, handout[1])
    before = foedus.run(config | {"name": "before"}).folder
    change = rotate_key("north", tmp_path / "keys").file
    after = foedus.run(config | {"name": "after"}).folder
    for run in (before, after):
        assert foedus.verify(run, keys=tmp_path / "keys", receipts=[receipts_of(run, "north")]).updates == 3
    foedus.verify(before, keys=others)
    with pytest.raises(SignatureError, match="take in the change file"):
        foedus.verify(after, keys=others)
    pin_key(change, others)
    assert foedus.verify(after, keys=others).updates == 3


def test_the_identities_of_a_signed_sum_are_those_of_the_folder_of_keys(masked: Path) -> None:
    """What is signed inside the protocol is signed with the keys that others have pinned."""
    entries = [entry.statement for entry in read_log(masked / "log.jsonl")[0]]
    summed = next(entry for entry in entries if isinstance(entry, Summed))
    roster = Roster.decode(bytes.fromhex(summed.roster))
    roster.check(Terms.decode(bytes.fromhex(summed.terms)), pinned_keys(keys_of(masked), SITES))
    stranger = {**pinned_keys(keys_of(masked), SITES), "west": Identity.create().public}
    with pytest.raises(SecureSumError, match="what west showed is not signed with the key that is pinned"):
        roster.check(Terms.decode(bytes.fromhex(summed.terms)), stranger)
