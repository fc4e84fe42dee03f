from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from foedus.compression.feedback import encode
from foedus.compression.sparse_chunks import CHUNK, sparse_chunks
from foedus.core.errors import ParticipantError


def values_of(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(), (1,), (5,), (CHUNK,), (CHUNK + 3,), (3, CHUNK), (70, 130), (0,)])
@pytest.mark.parametrize("fraction", [0.01, 0.3, 1.0])
def test_the_largest_of_each_chunk_arrive_within_a_quarter_of_their_range(
    shape: tuple[int, ...], fraction: float
) -> None:
    values = values_of(*shape)
    lost = values.clone()
    arrived = sparse_chunks(fraction)(lost).decode()
    assert arrived.shape == values.shape
    torch.testing.assert_close(arrived + lost, values, rtol=1e-6, atol=1e-6)
    for start in range(0, values.numel(), CHUNK):
        given, got = (tensor.flatten()[start : start + CHUNK] for tensor in (values, arrived))
        sent = got != 0
        assert int(sent.sum()) == max(1, round(fraction * len(given)))
        magnitudes = given[sent].abs()
        assert bool((given[~sent].abs() <= magnitudes.min() + 1e-9).all())
        quarter = float(magnitudes.max() - magnitudes.min()) / 4
        assert float((got - given)[sent].abs().max()) <= quarter * 1.0001 + 1e-6


def test_bytes_are_those_of_places_codes_and_ranges() -> None:
    encoded = sparse_chunks(0.03)(values_of(10 * CHUNK))
    kept = 10 * 123
    assert encoded.byte_size() == 2 * kept + -(-kept // 4) + 10 * 8
    assert 4 * 10 * CHUNK / encoded.byte_size() > 57


def test_zeros_stay_zeros() -> None:
    lost = torch.zeros(5000)
    assert not sparse_chunks(0.1)(lost).decode().any()
    assert not lost.any()


def test_a_residual_fades() -> None:
    nothing = {"w": torch.zeros(CHUNK)}
    residual = {"w": values_of(CHUNK)}
    encoded, left = encode(nothing, sparse_chunks(0.01), residual, decay=0.5)
    torch.testing.assert_close(encoded.decode()["w"] + left["w"], 0.5 * residual["w"], rtol=1e-6, atol=1e-6)


def test_pieces_that_do_not_fit_together_are_refused() -> None:
    encoded = sparse_chunks(0.1)(values_of(5000))
    for broken in (
        replace(encoded, places=encoded.places[:-1]),
        replace(encoded, codes=encoded.codes[:-1]),
        replace(encoded, ranges=encoded.ranges[:-1]),
        replace(encoded, shape=torch.Size((10**12,))),
    ):
        with pytest.raises(ParticipantError, match="places and codes do not fit"):
            broken.decode()
    for place in (-1, 4999):
        places = encoded.places.clone()
        places[-1] = place
        with pytest.raises(ParticipantError, match="a place outside"):
            replace(encoded, places=places).decode()
