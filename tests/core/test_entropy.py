from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from foedus.core.entropy import _BLOCK, FURTHEST_NORMAL, Entropy, _box_muller
from foedus.core.seeds import SeedKey

KEY = bytes(range(32))


def fixed(*names: str | int) -> Entropy:
    return Entropy.reproducible_from(SeedKey.from_seed(0).child(*names))


def test_the_stream_is_the_keystream_of_aes_256_in_counter_mode() -> None:
    key = HKDFExpand(SHA256(), 32, b"foedus entropy 1\x00stream").derive(KEY)
    expected = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor().update(bytes(100))
    stream = Entropy.kept(KEY)
    assert bytes(stream.draw(33) + stream.draw(0) + stream.draw(67)) == expected


def test_the_stream_of_a_key_never_changes() -> None:
    """Noise that is drawn again after an upgrade must be the noise of before. Recorded from this implementation."""
    assert bytes(Entropy.kept(KEY).draw(8)).hex() == "4bf086f86008a0b2"
    assert bytes(Entropy.kept(KEY).child("round", 3).draw(8)).hex() == "432bea73f77f8f35"
    assert Entropy.kept(KEY).normal((3,)).tolist() == pytest.approx([-0.4647, -0.785768, 2.337852], rel=1e-5)


def test_secret_streams_differ_and_are_not_reproducible() -> None:
    first, second = Entropy.secret(), Entropy.secret()
    assert first.draw(16) != second.draw(16)
    assert not first.reproducible
    assert not first.child("a").reproducible


def test_what_follows_from_a_seed_says_so_in_every_child() -> None:
    assert fixed().reproducible
    assert fixed().child("a").once("b").reproducible
    assert "not private" in repr(fixed())


def test_equal_names_give_equal_children_and_different_names_different_ones() -> None:
    root = fixed()
    root.draw(100)  # where a stream stands does not move its children
    assert root.child("round", 3).draw(16) == fixed().child("round").child(3).draw(16)
    names: list[tuple[str | int, ...]] = [(), ("a",), ("b",), (1,), ("1",), ("a", "b"), ("ab",), ("b", "a")]
    assert len({bytes(fixed().child(*name).draw(16)) for name in names}) == len(names)


def test_a_child_is_not_a_later_part_of_its_parent() -> None:
    child = bytes(fixed().child("a").draw(16))
    assert child not in bytes(fixed().draw(1 << 16))


def test_once_never_repeats_a_secret_stream_and_repeats_the_others_by_name() -> None:
    secret = Entropy.secret()
    assert secret.once("round", 1).draw(16) != secret.once("round", 1).draw(16)
    makers: list[Callable[[], Entropy]] = [fixed, lambda: Entropy.kept(KEY)]
    for again in makers:
        assert again().once("round", 1).draw(16) == again().once("round", 1).draw(16)
        assert again().once("round", 1).draw(16) != again().once("round", 2).draw(16)


def test_a_key_shows_in_no_text_and_in_no_pickle() -> None:
    stream = Entropy.kept(KEY)
    assert repr(stream) == "Entropy(secret)"
    assert KEY.hex() not in str(stream)
    duplicates: list[Callable[[object], object]] = [pickle.dumps, copy.copy, copy.deepcopy]
    for duplicate in duplicates:
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            duplicate(stream)


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="a key of 16 bytes was given; it must have 32"):
        Entropy.kept(bytes(16))


def drawn_in_a_fork(make: Callable[[], Entropy], draw: Callable[[Entropy], bytes]) -> tuple[bytes, bytes]:
    """Return what a stream gives in a forked process, and afterwards in this one."""
    stream = make()
    stream.draw(1000)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def work(connection: Connection) -> None:
        connection.send_bytes(draw(stream))
        os._exit(0)

    process = context.Process(target=work, args=(sender,))
    process.start()
    there = receiver.recv_bytes()
    process.join()
    return there, draw(stream)


@pytest.mark.parametrize(
    "draw",
    [lambda s: bytes(s.draw(16)), lambda s: bytes(s.child("a").draw(16)), lambda s: s.normal((8,)).numpy().tobytes()],
    ids=["bytes", "child", "normal"],
)
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # that it has threads, which it does not use
def test_a_forked_process_does_not_repeat_its_parents_secret_stream(draw: Callable[[Entropy], bytes]) -> None:
    there, here = drawn_in_a_fork(Entropy.secret, draw)
    assert there != here
    repeated, first = drawn_in_a_fork(lambda: Entropy.kept(KEY), draw)
    assert repeated == first  # so the comparison above can fail


@pytest.mark.parametrize("shape", [(), (0,), (1,), (5,), (3, 7), (_BLOCK,), (2, _BLOCK + 3)])
def test_normals_have_the_shape_asked_for_and_are_float32(shape: tuple[int, ...]) -> None:
    drawn = fixed().normal(shape)
    assert (tuple(drawn.shape), drawn.dtype, drawn.is_contiguous()) == (shape, torch.float32, True)
    assert bool(drawn.isfinite().all())


def test_the_number_of_threads_does_not_change_the_normals() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = fixed().normal((40 * _BLOCK + 5,))
        torch.set_num_threads(2)
        two = fixed().normal((40 * _BLOCK + 5,))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one, two)


def test_whole_blocks_can_be_drawn_in_pieces() -> None:
    stream = fixed()
    pieces = torch.cat([stream.normal((_BLOCK,)), stream.normal((2 * _BLOCK,))])
    assert torch.equal(pieces, fixed().normal((3 * _BLOCK,)))


def test_the_transform_equals_box_and_mullers_in_float64() -> None:
    words = torch.randint(-(2**31), 2**31, (2, 4096), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    pairs = torch.empty(1, 2, 4096)
    _box_muller(words.view(-1), pairs)
    radii = torch.sqrt(-2 * torch.log((words[0].double() + 0.5).abs() / 2**31))
    angles = words[1].double() * torch.pi / 2**31
    for actual, expected in ((pairs[0, 0], radii * torch.cos(angles)), (pairs[0, 1], radii * torch.sin(angles))):
        torch.testing.assert_close(actual.double(), expected, rtol=2e-5, atol=2e-6)


def test_the_extreme_words_give_the_furthest_normals_and_none_that_is_not_finite() -> None:
    radii = torch.tensor([0, -1, 2**31 - 1, -(2**31)], dtype=torch.int32)
    pairs = torch.empty(1, 2, 4)
    _box_muller(torch.cat([radii, torch.zeros(4, dtype=torch.int32)]), pairs)
    assert pairs[0, 0].tolist() == pytest.approx([FURTHEST_NORMAL, FURTHEST_NORMAL, 0.0, 0.0], abs=1e-3)
    assert FURTHEST_NORMAL > 6.6


def test_uniforms_are_multiples_of_2_to_the_minus_53_below_1() -> None:
    drawn = fixed().uniform(10_000)
    assert drawn.dtype == np.float64
    assert bool((drawn >= 0).all())
    assert bool((drawn < 1).all())
    assert bool((drawn * 2**53 == np.floor(drawn * 2**53)).all())
    assert len(np.unique(drawn)) == 10_000


def test_a_coin_of_rate_0_never_comes_up_and_one_of_rate_1_always() -> None:
    assert fixed().chosen(1000, 0.0) == []
    assert fixed().chosen(1000, 1.0) == list(range(1000))
    assert fixed().chosen(0, 0.5) == []
