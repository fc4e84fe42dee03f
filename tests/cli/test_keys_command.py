import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foedus.cli.main import app

runner = CliRunner(env={"COLUMNS": "200"})


def keys(*words: str, refused: bool = False, **options: str) -> str:
    done = runner.invoke(app, ["keys", *words], **options)  # type: ignore[arg-type]
    assert done.exit_code == (2 if refused else 0), done.output
    return done.stderr if refused else done.stdout


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def fingerprint(name: str, folder: str = "keys") -> str:
    return str(json.loads(keys("show", name, "--json", "--folder", folder))["fingerprint"])


def test_a_new_key_is_kept_and_its_public_half_handed_out() -> None:
    said = keys("new", "St. Mary/North")
    assert sorted(path.name for path in Path("keys").iterdir()) == [
        "St. Mary%2FNorth.key",
        "St. Mary%2FNorth.pub",
        "pins.json",
    ]
    assert Path("keys/St. Mary%2FNorth.key").stat().st_mode & 0o777 == 0o600
    assert said.splitlines()[0] == f"{fingerprint('St. Mary/North')}  St. Mary/North"
    assert keys("show") == f"{fingerprint('St. Mary/North')}  St. Mary/North  (your own)\n"
    assert "is there already" in keys("new", "St. Mary/North", refused=True)


def test_another_partys_key_is_pinned_by_its_fingerprint_alone() -> None:
    keys("new", "north")
    at = ("--folder", "other")
    assert "not aaaa" in keys("pin", "keys/north.pub", "--fingerprint", "aaaa", *at, refused=True)
    keys("pin", "keys/north.pub", "--fingerprint", fingerprint("north"), *at)
    assert keys("show", *at) == f"{fingerprint('north')}  north\n"
    keys("new", "north", "--folder", "thief")
    stolen = fingerprint("north", "thief")
    assert "is pinned with" in keys("pin", "thief/north.pub", "--fingerprint", stolen, *at, refused=True)


def test_a_person_is_asked_to_compare() -> None:
    keys("new", "north")
    assert runner.invoke(app, ["keys", "pin", "keys/north.pub", "--folder", "other"], input="n\n").exit_code == 1
    assert not Path("other").exists()
    said = keys("pin", "keys/north.pub", "--folder", "other", input="y\n")
    assert "Did its owner read out this fingerprint?" in said
    assert fingerprint("north", "other") == fingerprint("north")


def test_a_rotation_reaches_the_others_by_a_file_that_proves_itself() -> None:
    keys("new", "north")
    first = fingerprint("north")
    keys("pin", "keys/north.pub", "--fingerprint", first, "--folder", "other")
    keys("rotate", "north")
    keys("rotate", "north")
    second = fingerprint("north")
    assert first != second
    assert "earlier changes first" in keys("pin", "keys/north.1.change", "--folder", "other", refused=True)
    keys("pin", "keys/north.0.change", "--folder", "other")
    assert "changed 2 times" in keys("pin", "keys/north.1.change", "--folder", "other")
    assert fingerprint("north", "other") == second


def test_a_rotation_that_was_interrupted_ends_as_if_it_had_not_been() -> None:
    keys("new", "north")
    shutil.copytree("keys", "before")
    keys("rotate", "north")
    shutil.copy("keys/north.key", "before/north.next")  # killed after the new key was written,
    keys("rotate", "north", "--folder", "before")
    assert fingerprint("north", "before") == fingerprint("north")
    shutil.copy("keys/north.key", "keys/north.next")  # … and after it was pinned, before it took its place
    keys("rotate", "north")
    for name in ("north.key", "north.pub", "north.0.change", "pins.json"):
        assert Path("keys", name).read_bytes() == Path("before", name).read_bytes()
    assert not Path("keys/north.next").exists()


def test_a_revoked_key_is_refused_by_all_who_hear_of_it_and_makes_room_for_another() -> None:
    keys("new", "north")
    keys("pin", "keys/north.pub", "--fingerprint", fingerprint("north"), "--folder", "other")
    assert "REVOKED" in keys("revoke", "north")
    assert "REVOKED" in keys("pin", "keys/north.0.change", "--folder", "other")
    assert "was revoked" in keys("rotate", "north", refused=True)
    Path("keys/north.key").unlink()
    keys("new", "north")
    assert "REVOKED" not in keys("show", "north")
    keys("pin", "keys/north.pub", "--fingerprint", fingerprint("north"), "--folder", "other")


def test_a_passphrase_encrypts_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keys("new", "north", "--passphrase", input="secret words\nsecret words\n")
    assert "ENCRYPTED" in Path("keys/north.key").read_text()
    assert "its passphrase is needed" in keys("rotate", "north", refused=True)
    assert "not its own" in keys("rotate", "north", "--passphrase", input="other words\n", refused=True)
    monkeypatch.setenv("FOEDUS_KEY_PASSPHRASE", "secret words")
    keys("rotate", "north", "--passphrase")
    assert "ENCRYPTED" in Path("keys/north.key").read_text()


def test_keys_that_are_not_there_are_named() -> None:
    assert "no key is pinned in keys" in keys("show")
    assert "has no key of north" in keys("show", "north", refused=True)
    assert "north.key cannot be read" in keys("rotate", "north", refused=True)
    Path("letter.pub").write_text("hello")
    assert "letter.pub is not a public key" in keys("pin", "letter.pub", refused=True)
    Path("letter.change").write_text("hello")
    assert "letter.change cannot be read" in keys("pin", "letter.change", refused=True)
