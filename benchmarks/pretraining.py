"""Tokens a second of a federated DiLoCo round over those of a plain loop, and what compression takes of such a round.

The model, the participants and the settings are those of examples/plays.yaml: 4 participants, 50 steps each. The plain
loop makes the same steps on the same batches, with the same loss, learning rates and clipping, and with one optimizer.
Round and loop take turns; a ratio is that of a pair, so that what else the machine does falls on both.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable

import torch
from torch import nn

import foedus
from benchmarks.compression import CODECS, fastest
from benchmarks.settings import EXAMPLES
from benchmarks.simulation import federated_round
from foedus.compression.feedback import encode
from foedus.config.assemble import Assembly, assemble
from foedus.core import trees
from foedus.federation.messages import Clock
from foedus.tasks.token_loss import IGNORED
from foedus.training.batches import logical_batches
from foedus.training.settings import learning_rate_at

PAIRS = 7
AIM = 0.97


def plain_loop(assembly: Assembly) -> Callable[[], int]:
    """Return a function that trains as one writes it by hand, and returns the tokens trained on."""
    model, settings, device = assembly.workspace.model, assembly.settings, assembly.workspace.device
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, fused=True)
    steps, clip, clock = settings.steps, settings.gradient_clip, Clock(0, assembly.config.rounds.count)
    assert steps is not None
    assert clip is not None

    lengths_of = {
        name: [assembly.task.length(row) for row in splits["train"]] for name, splits in assembly.examples.items()
    }

    def train() -> int:
        tokens = 0
        model.train()
        for name, splits in assembly.examples.items():
            rows, lengths = splits["train"], lengths_of[name]
            key = assembly.key.child("participant", name, "round", 0, "batches")
            for index, parts in enumerate(
                logical_batches(lengths, settings.batch_size, 1, steps, key, group_by_length=settings.group_by_length)
            ):
                batch = assembly.task.collate([rows[i] for i in parts[0]])
                ids, mask, targets = (batch[n].to(device) for n in ("input_ids", "attention_mask", "targets"))
                logits = model(input_ids=ids, attention_mask=mask).logits
                nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED).backward()  # type: ignore[no-untyped-call] # PyTorch's own
                nn.utils.clip_grad_norm_(parameters, clip)
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate_at(settings, clock.progress(index / steps))
                optimizer.step()
                optimizer.zero_grad()
                tokens += int((targets != IGNORED).sum())
        return tokens

    return train


def clock_of(device: torch.device) -> Callable[[], float]:
    """Return the clock to measure with: on one thread of a CPU, this process's own time, which others do not take."""
    return time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


def timed(work: Callable[[], object], clock: Callable[[], float]) -> float:
    """Return the seconds that the work takes."""
    started = clock()
    work()
    return clock() - started


def main() -> None:
    """Print both ratios, with the median and the spread over pairs."""
    with tempfile.TemporaryDirectory() as folder:
        config = foedus.load_config(EXAMPLES / "plays.yaml", [f"output.folder={folder}"])
        assembly = assemble(config)
    play, train = federated_round(assembly), plain_loop(assembly)
    play()
    tokens = train()
    pairs, clock = [], clock_of(assembly.workspace.device)
    for number in range(PAIRS):  # each is first every other time
        first, second = (play, train) if number % 2 else (train, play)
        seconds = timed(first, clock), timed(second, clock)
        pairs.append(seconds if first is play else (seconds[1], seconds[0]))
    ratios = [plain / federated for federated, plain in pairs]
    round_seconds = statistics.median(federated for federated, _ in pairs)
    print(
        f"tokens a second, federated over plain, H = {config.local.steps}: median {statistics.median(ratios):.3f} "
        f"(min {min(ratios):.3f}, max {max(ratios):.3f}, {PAIRS} pairs; aim >= {AIM}); {tokens:,} tokens a round, "
        f"{tokens / round_seconds:,.0f} a second in the median round",
        flush=True,
    )
    compression_shares(assembly, round_seconds)


def compression_shares(assembly: Assembly, round_seconds: float) -> None:
    """Print what encoding and decoding all participants' updates takes of a round, and over a copy in memory."""
    device, participants = assembly.workspace.device, len(assembly.examples)
    delta = {name: torch.randn_like(tensor) * 1e-3 for name, tensor in assembly.initial.items()}
    residual, target = trees.scale(delta, 0.01), trees.clone(delta)
    size = trees.byte_size(delta)
    copy = fastest(lambda: trees.copy_in_place(target, delta), device)
    for name, codec in CODECS.items():
        packed, _ = encode(delta, codec, residual)
        work = fastest(lambda codec=codec: encode(delta, codec, residual), device)  # type: ignore[misc] # bound now
        work += fastest(packed.decode, device)
        print(
            f"{name} with error feedback: encode and decode {participants * work / round_seconds:.2%} of a round "
            f"(aim under 3 %), {work / copy:.1f} times a copy of the update's {size / 1e6:.1f} MB in memory",
            flush=True,
        )


if __name__ == "__main__":
    main()
