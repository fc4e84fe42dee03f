"""Bills: what they say comes back, what is sealed opens to nothing else, and other bytes are refused by name."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from foedus.core.errors import SignatureError
from foedus.privacy.bills import Bill, bill_file, read_bills, show_bills
from foedus.privacy.events import CorrelatedGaussian, Gaussian, PoissonGaussian

BILLS = {
    "north": Bill(((PoissonGaussian(1.1, 0.25), 40),), 1e-5),
    "söuth/east": Bill(((Gaussian(2.0), 1), (CorrelatedGaussian(3.0, 5, 2, 3), 1)), 1e-3),
}

GAUSSIAN: dict[str, Any] = {"event": {"kind": "gaussian", "noise_multiplier": 1.0, "version": 1}}


def test_what_is_shown_comes_back(tmp_path: Path) -> None:
    shown = json.loads(json.dumps(show_bills(BILLS, [], tmp_path, "run")))
    found, sealed = read_bills(shown)
    assert (dict(found), sealed) == ({name: Bill.from_values(bill.as_values()) for name, bill in BILLS.items()}, [])
    assert {name: set(bill.charges) for name, bill in found.items()} == {n: set(b.charges) for n, b in BILLS.items()}
    assert not list(tmp_path.iterdir())


def test_a_secret_bill_is_opened_by_its_owner_s_file_alone(tmp_path: Path) -> None:
    shown = json.loads(json.dumps(show_bills(BILLS, list(BILLS), tmp_path, "run")))
    assert all(entry.keys() == {"payer", "sealed"} for entry in shown)
    again = show_bills(BILLS, list(BILLS), tmp_path / "again", "run")
    assert {entry["sealed"] for entry in shown}.isdisjoint(entry["sealed"] for entry in again)
    files = {name: bill_file(tmp_path, name, "run") for name in BILLS}
    found, sealed = read_bills(shown, [files["north"]])
    assert (list(found), sealed) == (["north"], ["söuth/east"])
    assert found["north"] == BILLS["north"]
    assert read_bills(shown, list(files.values()))[1] == []
    with pytest.raises(SignatureError, match="is not the bill that the run sealed for north"):
        read_bills(shown, [bill_file(tmp_path / "again", "north", "run")])


def many(events: int) -> Any:
    return [{"payer": "north", "delta": 0.1, "events": [GAUSSIAN | {"count": 1 + each} for each in range(events)]}]


def often(count: int) -> Any:
    return [{"payer": "north", "delta": 0.1, "events": [GAUSSIAN | {"count": count}]}]


def test_bills_are_read_up_to_a_size(tmp_path: Path) -> None:
    assert read_bills(many(16))[0]["north"].charges == ((Gaussian(1.0), 136),)
    assert read_bills(often(10**9))[0]["north"].charges == ((Gaussian(1.0), 10**9),)


@pytest.mark.parametrize(
    "shown",
    [None, 1, "bills", [1], [{}], [{"payer": "north", "sealed": "0", "delta": 0.1}]]
    + [[{"payer": "north", "sealed": seal}] for seal in (0, "", "0" * 63, "G" * 64, ["0" * 64])]
    + [[{"payer": "north", "sealed": "0" * 64}] * 2, many(17), often(10**9 + 1)],
)
def test_what_is_no_list_of_bills_is_refused(shown: Any) -> None:
    with pytest.raises(SignatureError, match="what a run cost its payers cannot be read"):
        read_bills(shown)


def test_whatever_a_bill_became_it_is_read_or_refused_by_name(tmp_path: Path) -> None:
    shown = show_bills(BILLS, ["north"], tmp_path, "run")
    file = bill_file(tmp_path, "north", "run")
    whole, randomness = file.read_bytes(), random.Random("bills")  # noqa: S311 - cases, not keys
    junk = [b"null", b"-1", b"1e999", b"[]", b"{}", b'"', b"NaN", b"\xff", b"9" * 400, b"[" * 3000, b""]
    refused = 0
    for _ in range(2000):
        begin = randomness.randrange(len(whole))
        end = begin + randomness.randint(1, 30)
        file.write_bytes(whole[:begin] + randomness.choice(junk) + whole[end:])
        try:
            read_bills(shown, [file])
        except SignatureError:
            refused += 1
    assert refused == 2000
    plain = json.dumps(shown[1])
    for _ in range(2000):
        begin = randomness.randrange(len(plain))
        end = begin + randomness.randint(1, 30)
        changed = plain[:begin] + randomness.choice(junk[:-4]).decode("latin-1") + plain[end:]
        try:
            read_bills([json.loads(changed)])
        except (json.JSONDecodeError, RecursionError, SignatureError):
            refused += 1
    assert refused > 3000
