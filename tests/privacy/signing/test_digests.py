from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from foedus.compression.encoding import EncodedTensors
from foedus.compression.half import half
from foedus.core.errors import SignatureError
from foedus.core.trees import ParamTree
from foedus.federation.messages import (
    Broadcast,
    Clock,
    CountPairs,
    DryRound,
    Evaluate,
    LocalUpdate,
    Request,
    Train,
    TrainAlone,
)
from foedus.privacy.signing.digests import file_digest, folder_digest, request_digest, tree_digest, update_digest

TREE: ParamTree = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[3.0], [4.0]])}
UPDATE = LocalUpdate({"delta": TREE}, 3.0, {"steps": {"value": torch.tensor(2.0)}}, {"loss": 0.5}, {}, {"steps": 4})
HALVES = EncodedTensors({name: half(tensor.clone()) for name, tensor in TREE.items()})
BROADCAST = Broadcast({"params": TREE, "control": TREE}, Clock(2, 10))


def with_bit_changed(tensor: torch.Tensor) -> torch.Tensor:
    raw = tensor.clone()
    raw.view(torch.uint8).view(-1)[0] ^= 1
    return raw


@pytest.mark.parametrize(
    "other",
    [
        {"a": TREE["a"]},
        {**TREE, "c": TREE["a"]},
        {"a": TREE["a"], "c": TREE["b"]},
        {"b": TREE["a"], "a": TREE["b"]},
        {**TREE, "b": TREE["b"].view(1, 2)},
        {**TREE, "a": TREE["a"].double()},
        {**TREE, "a": TREE["a"].view(torch.int32)},
        {**TREE, "a": with_bit_changed(TREE["a"])},
        {"a": torch.cat([TREE["a"], TREE["b"].view(-1)]), "b": torch.empty(0, 1)},
    ],
)
def test_every_change_of_a_tree_changes_its_digest(other: ParamTree) -> None:
    assert tree_digest(other) != tree_digest(TREE)


def test_order_and_layout_do_not_change_a_digest() -> None:
    wide = torch.tensor([[1.0, 9.0], [2.0, 9.0]])[:, 0]
    assert not wide.is_contiguous()
    assert tree_digest({"b": TREE["b"], "a": wide}) == tree_digest(TREE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int8, torch.int64, torch.bool])
def test_tensors_of_every_type_and_of_no_dimension_have_digests(dtype: torch.dtype) -> None:
    digests = {tree_digest({"x": torch.tensor(value).to(dtype)}) for value in (0.0, 1.0)}
    assert len(digests) == 2
    assert len(tree_digest({"x": torch.empty(0, dtype=dtype)})) == 32


@pytest.mark.parametrize(
    "change",
    [
        lambda u: replace(u, weight=3.0000000000000004),
        lambda u: replace(u, metrics={"loss": 0.25}),
        lambda u: replace(u, metrics={}),
        lambda u: replace(u, counts={"steps": 5}),
        lambda u: replace(u, averaged=u.summed, summed=u.averaged),
        lambda u: replace(u, averaged={"other": TREE}),
        lambda u: replace(u, metrics={"loss": float("nan")}),
    ],
)
def test_every_change_of_an_update_changes_its_digest(change: Callable[[LocalUpdate], LocalUpdate]) -> None:
    assert update_digest(change(UPDATE)) != update_digest(UPDATE)


def test_an_update_that_travels_encoded_counts_as_what_it_stands_for() -> None:
    encoded = LocalUpdate({}, 1.0, encoded={"delta": HALVES})
    assert update_digest(encoded) == update_digest(encoded.decoded())
    assert update_digest(encoded) != update_digest(LocalUpdate({}, 1.0))


def test_every_request_has_its_own_digest() -> None:
    requests: list[Request] = [
        Train(BROADCAST),
        Train(replace(BROADCAST, clock=Clock(3, 10))),
        Train(replace(BROADCAST, clock=Clock(2, 11))),
        Train(Broadcast({"params": TREE}, Clock(2, 10))),
        Evaluate(TREE, "test"),
        Evaluate(TREE, "validation"),
        Evaluate(TREE, "test", compare=True),
        TrainAlone(Clock(2, 10)),
        TrainAlone(Clock(3, 10)),
        DryRound(BROADCAST),
        CountPairs([(1, 2)]),
        CountPairs([(2, 1)]),
        CountPairs([]),
    ]
    assert len({request_digest(request) for request in requests}) == len(requests)


def test_an_encoded_broadcast_counts_as_what_it_stands_for() -> None:
    encoded = Broadcast({}, Clock(0, 1), {"params": HALVES})
    assert request_digest(Train(encoded)) == request_digest(Train(encoded.decoded()))


def test_a_folder_digest_knows_places_and_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    first = folder_digest([two, one], tmp_path)
    assert first == folder_digest([one, two], tmp_path)
    assert first != folder_digest([one], tmp_path)
    one.write_bytes(b"2")
    two.write_bytes(b"1")
    assert first != folder_digest([one, two], tmp_path)
    with pytest.raises(SignatureError, match="cannot be read"):
        file_digest(tmp_path / "three")
