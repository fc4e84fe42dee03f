from pathlib import Path

import pytest

from foedus.core.errors import SignatureError
from foedus.privacy.signing.identity import Identity
from foedus.privacy.signing.pins import (
    Change,
    Pins,
    apply,
    load_pins,
    pin,
    read_change,
    read_pins,
    require,
    revoked,
    rotated,
    save_pins,
    write_change,
)
from foedus.privacy.signing.statements import Rotation, signature_of

FIRST, SECOND, THIRD, THIEF = (Identity.from_seed(bytes([number]) * 32) for number in range(1, 5))
PINNED: Pins = pin({}, "north", FIRST.public)


def after(*changes: Change) -> Pins:
    pins = PINNED
    for change in changes:
        pins = apply(pins, change)
    return pins


def test_another_key_does_not_take_a_pinned_name() -> None:
    assert pin(PINNED, "north", FIRST.public) == PINNED
    with pytest.raises(SignatureError, match=f"pinned with the key {FIRST.public.fingerprint}"):
        pin(PINNED, "north", THIEF.public)


def test_rotations_lead_from_the_pinned_key_to_the_present_one() -> None:
    pins = after(rotated("north", 0, FIRST, SECOND), rotated("north", 1, SECOND, THIRD))
    require(pins, "north", THIRD.public)
    require(pins, "north", FIRST.public, former=True)
    with pytest.raises(SignatureError, match="but pinned is"):
        require(pins, "north", FIRST.public)
    with pytest.raises(SignatureError, match="but pinned is"):
        require(pins, "north", THIEF.public, former=True)
    with pytest.raises(SignatureError, match="no key is pinned for south"):
        require(pins, "south", FIRST.public)


def test_a_change_counts_once_and_in_its_order() -> None:
    one, two = rotated("north", 0, FIRST, SECOND), rotated("north", 1, SECOND, THIRD)
    assert after(one, one) == after(one)
    assert after(one, two, one) == after(one, two)
    with pytest.raises(SignatureError, match="take in the earlier changes first"):
        after(two)
    with pytest.raises(SignatureError, match="does not follow"):
        after(one, rotated("north", 0, SECOND, THIRD))
    with pytest.raises(SignatureError, match="does not follow"):
        after(one, rotated("north", 0, FIRST, THIRD))
    with pytest.raises(SignatureError, match="none is pinned"):
        apply({}, one)


def test_only_the_old_key_and_the_new_one_together_can_rotate() -> None:
    stated = Rotation(name="north", number=0, old=FIRST.public.hex(), new=THIEF.public.hex())
    for signers in ([THIEF, THIEF], [FIRST, SECOND], [FIRST], [FIRST, THIEF, THIEF], [THIEF, FIRST]):
        with pytest.raises(SignatureError):
            after(Change(change=stated, signatures=[signature_of(stated, signer) for signer in signers]))


def test_a_change_of_one_name_is_none_of_another() -> None:
    pins = pin(PINNED, "south", FIRST.public)
    change = rotated("north", 0, FIRST, SECOND)
    moved = Change(change=change.change.model_copy(update={"name": "south"}), signatures=change.signatures)
    with pytest.raises(SignatureError, match="does not fit"):
        apply(pins, moved)


def test_a_revoked_key_signs_and_changes_no_more() -> None:
    pins = after(rotated("north", 0, FIRST, SECOND), revoked("north", 1, SECOND))
    for former in (False, True):
        with pytest.raises(SignatureError, match="was revoked"):
            require(pins, "north", SECOND.public, former=former)
    require(pins, "north", FIRST.public, former=True)
    with pytest.raises(SignatureError, match="can change no more"):
        apply(pins, rotated("north", 2, SECOND, THIRD))
    with pytest.raises(SignatureError, match="replaced or revoked"):
        pin(pins, "north", SECOND.public)
    require(pin(pins, "north", THIRD.public), "north", THIRD.public)


def test_a_pin_file_gives_back_what_was_saved_and_change_files_too(tmp_path: Path) -> None:
    path, change = tmp_path / "pins.json", rotated("north", 0, FIRST, SECOND)
    pins = pin(after(change, revoked("north", 1, SECOND)), "söuth", THIRD.public)
    save_pins(path, pins)
    assert load_pins(path) == pins
    assert load_pins(tmp_path / "none.json") == {}
    assert read_change(write_change(change), "it") == change


def test_no_byte_of_a_pin_file_with_a_change_can_change_unnoticed(tmp_path: Path) -> None:
    path = tmp_path / "pins.json"
    save_pins(path, after(rotated("north", 0, FIRST, SECOND)))
    text = path.read_bytes()
    for place in range(len(text) - 1):
        changed = text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :]
        with pytest.raises(SignatureError):
            read_pins(changed, "it")


def test_a_forged_change_in_a_pin_file_is_found_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pins.json"
    save_pins(path, after(rotated("north", 0, FIRST, SECOND)))
    forged = path.read_text().replace(SECOND.public.hex(), THIEF.public.hex())
    path.write_text(forged)
    with pytest.raises(SignatureError, match="does not fit its rotation statement"):
        load_pins(path)
    save_pins(path, pin(PINNED, "south", THIRD.public))
    moved = after(rotated("north", 0, FIRST, SECOND))["north"]
    save_pins(path, {"south": moved})
    with pytest.raises(SignatureError, match="a change of north under the name south"):
        load_pins(path)
