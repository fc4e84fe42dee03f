"""Encoding and decoding an update with error feedback, over copying the same bytes in memory.

Beside it, what that is of a round: the same model's training steps on one core, timed here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import torch
from torch import nn

from foedus.compression import blocks
from foedus.compression.encoding import Codec
from foedus.compression.feedback import encode
from foedus.compression.half import half
from foedus.compression.top_k import top_k
from foedus.core import trees
from foedus.core.seeds import SeedKey, torch_seeded

CODECS: dict[str, Codec] = {"fp16": half, "int8": blocks.int8, "int4": blocks.int4, "top 5 %": top_k(0.05)}
STEPS = 50  # local steps a round
TOKENS = (8, 256)  # sequences a step, tokens a sequence


def transformer(width: int = 512, layers: int = 6, vocabulary: int = 8192) -> nn.Module:
    """Return a language model of about 23 M parameters."""
    layer = nn.TransformerEncoderLayer(width, 8, 4 * width, dropout=0.0, batch_first=True)
    body = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
    return nn.Sequential(nn.Embedding(vocabulary, width), body, nn.Linear(width, vocabulary, bias=False))


def fastest(work: Callable[[], object], device: torch.device, times: int = 7) -> float:
    """Return the seconds of the fastest of several runs."""
    seconds = []
    for _ in range(times):
        wait(device)
        started = time.perf_counter()
        work()
        wait(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize()


def step_seconds(model: nn.Module, device: torch.device) -> float:
    """Return the time of one training step of the model."""
    tokens = torch.zeros(TOKENS, dtype=torch.long, device=device)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)

    def step() -> None:
        loss = nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten())
        loss.backward()  # type: ignore[no-untyped-call] # PyTorch's own
        optimizer.step()
        optimizer.zero_grad()

    return fastest(step, device, times=3)


def main() -> None:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    found = torch.accelerator.current_accelerator(check_available=True)
    for device in [torch.device("cpu"), *([found] if found else [])]:
        measure(device)


def measure(device: torch.device) -> None:
    with torch_seeded(SeedKey.from_seed(0)):
        model = transformer().to(device)
        delta = {name: torch.randn(p.shape, device=device) * 1e-3 for name, p in model.named_parameters()}
    residual = trees.scale(delta, 0.01)
    target = trees.clone(delta)
    size = trees.byte_size(delta)
    copy = fastest(lambda: trees.copy_in_place(target, delta), device)
    round_seconds = STEPS * step_seconds(model, device)
    print(f"{device.type}: {trees.count(delta) / 1e6:.1f} M parameters, copied at {size / copy / 1e9:.1f} GB/s")
    for name, codec in CODECS.items():
        packed, _ = encode(delta, codec, residual)
        encoding = fastest(lambda codec=codec: encode(delta, codec, residual), device)  # type: ignore[misc] # bound now
        decoding = fastest(packed.decode, device)
        print(
            f"{device.type}, {name} with error feedback: encode {encoding / copy:.1f} + decode {decoding / copy:.1f} "
            f"copies ({size / encoding / 1e9:.2f} and {size / decoding / 1e9:.2f} GB/s), "
            f"{(encoding + decoding) / round_seconds:.2%} of {STEPS} steps of {TOKENS[0]} x {TOKENS[1]} tokens "
            f"(aim under 3 %), {size / packed.byte_size():.2f} times fewer bytes",
            flush=True,
        )


if __name__ == "__main__":
    main()
