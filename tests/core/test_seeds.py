from __future__ import annotations

import numpy as np
import pytest
import torch

from foedus.core.seeds import SeedKey, torch_seeded

ROOT = SeedKey.from_seed(7)


def test_equal_names_under_equal_roots_give_equal_randomness() -> None:
    first, second = ROOT.child("round", 3), SeedKey.from_seed(7).child("round").child(3)
    assert first == second
    assert first.integer() == second.integer()
    assert np.array_equal(first.numpy().random(5), second.numpy().random(5))
    assert torch.equal(torch.rand(5, generator=first.torch()), torch.rand(5, generator=second.torch()))


def test_children_of_different_names_are_unlike_each_other_and_their_parent() -> None:
    keys = [ROOT, ROOT.child("a"), ROOT.child("b"), ROOT.child("a", "b"), ROOT.child("b", "a"), SeedKey.from_seed(8)]
    assert len({key.integer() for key in keys}) == len(keys)


def test_a_number_and_its_digits_are_different_names() -> None:
    assert ROOT.child(1) != ROOT.child("1")


def test_names_cannot_be_cut_in_two_places() -> None:
    assert ROOT.child("ab", "c") != ROOT.child("a", "bc")
    assert ROOT.child("ab") != ROOT.child("a", "b")


def test_a_new_consumer_does_not_shift_the_others() -> None:
    before = ROOT.child("dropout").numpy().random()
    ROOT.child("something new").numpy().random(100)
    assert ROOT.child("dropout").numpy().random() == before


def test_integers_fit_what_pytorch_takes_as_a_seed() -> None:
    assert all(0 <= ROOT.child(i).integer() < 2**63 for i in range(200))


def test_seeds_stay_the_same_from_version_to_version() -> None:
    # recorded at version 0.1.0: another value means that every saved run would go on differently
    assert SeedKey.from_seed(0).child("participant", "a", "round", 3).integer() == 1_363_922_707_068_949_587


def test_randomness_in_the_block_follows_the_key() -> None:
    draws = []
    for _ in range(2):
        with torch_seeded(ROOT):
            draws.append(torch.rand(3))
    with torch_seeded(ROOT.child("other")):
        other = torch.rand(3)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], other)


def test_the_global_generator_goes_on_as_if_the_block_had_not_been() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    with torch_seeded(ROOT):
        torch.rand(100)
    assert torch.equal(torch.rand(4), expected)


def test_the_global_generator_is_put_back_after_an_error() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    with pytest.raises(RuntimeError, match="shape"), torch_seeded(ROOT):
        torch.rand(100).reshape(3)
    assert torch.equal(torch.rand(4), expected)
