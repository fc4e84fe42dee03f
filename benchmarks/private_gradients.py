"""A training step with the gradient of each record clipped, over the same step without: time and peak memory.

Beside it what Opacus takes for the same, by per-sample gradients (hooks) and by ghost clipping, where these work. The
noise is timed apart: it is the same for all. Times are seconds of the processor, of one thread, which other programs
disturb less than the clock's; each private step is divided by the plain step right before it.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from torch import Tensor, nn

from benchmarks.peak_memory import peak_mebibytes
from foedus.core.entropy import Entropy
from foedus.core.seeds import SeedKey, torch_seeded
from foedus.privacy.gradients.clipped_sums import ClippedSums

RECORDS, TOKENS, CLIP_NORM = 16, 64, 0.1
PAIRS = 5
SETTINGS = {"BERT": 1.2, "GPT-2": 1.2, "BERT + LoRA": 1.15}  # with the aim for the time
MEMORY_AIM = 1.25
OPACUS = {
    "BERT": ("hooks", "ghost"),
    "GPT-2": ("hooks",),
    "BERT + LoRA": ("hooks", "ghost"),
}  # ghost knows no tied weights


@dataclass(frozen=True)
class Training:
    """A model, its trainable parameters, and its records' losses on one batch of random tokens."""

    model: Any
    parameters: Mapping[str, nn.Parameter]
    losses: Callable[[], Tensor]
    optimizer: torch.optim.Optimizer


def make(setting: str) -> Training:
    """Return MiniLM's architecture (22.7 M parameters) as a classifier, or a tied GPT-2 of 27 M."""
    with torch_seeded(SeedKey.from_seed(0)):
        model = _gpt2() if setting == "GPT-2" else _bert(lora=setting.endswith("LoRA"))
        ids = torch.randint(5, 30000, (RECORDS, TOKENS))
    model.train()

    def token_losses() -> Tensor:
        logits = model(input_ids=ids, position_ids=_positions(), use_cache=False).logits
        losses = F.cross_entropy(logits.flatten(0, 1), ids.roll(-1, 1).flatten(), reduction="none")
        return losses.view(RECORDS, TOKENS).mean(1)

    def class_losses() -> Tensor:
        logits = model(input_ids=ids, position_ids=_positions()).logits
        return F.cross_entropy(logits, ids[:, 0] % 22, reduction="none")

    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-4, fused=True)
    return Training(model, parameters, token_losses if setting == "GPT-2" else class_losses, optimizer)


def _positions() -> Tensor:
    """Return positions for each record: Opacus needs them so; we and plain training do not mind."""
    return torch.arange(TOKENS).expand(RECORDS, -1).contiguous()


def _bert(*, lora: bool) -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    sizes: Any = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    model = BertForSequenceClassification(BertConfig(num_labels=22, **sizes))
    if not lora:
        return model
    from peft import LoraConfig, get_peft_model

    return get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, target_modules=["query", "value"]))


def _gpt2() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(n_embd=352, n_layer=6, n_head=8, bos_token_id=0, eos_token_id=0))


def step_of(kind: str, training: Training) -> Callable[[], None]:
    """Return a function that takes a step: plain, ours, or by Opacus."""
    match kind:
        case "plain":
            return lambda: _plain_step(training)
        case "ours":
            sums = ClippedSums(training.model, training.parameters, CLIP_NORM)
            return lambda: _our_step(training, sums)
        case "hooks":
            return _step_by_hooks(training)
        case _:
            return _step_by_ghost(training)


def _plain_step(training: Training) -> None:
    training.losses().mean().backward()  # type: ignore[no-untyped-call] # PyTorch's own
    _finish(training)


def _our_step(training: Training, sums: ClippedSums) -> None:
    sums.add(training.losses, RECORDS)
    for name, total in sums.take().items():
        training.parameters[name].grad = total.div_(RECORDS)
    _finish(training)


def _step_by_hooks(training: Training) -> Callable[[], None]:
    from opacus.grad_sample import GradSampleModule

    GradSampleModule(training.model, loss_reduction="sum", strict=False)
    trained: list[Any] = list(training.parameters.values())

    def step() -> None:
        training.losses().sum().backward()  # type: ignore[no-untyped-call] # PyTorch's own
        samples = [(p, p.grad_sample) for p in trained if getattr(p, "grad_sample", None) is not None]
        norms = torch.stack([sample.flatten(1).norm(dim=1) for _, sample in samples]).norm(dim=0)
        factors = (CLIP_NORM / norms).clamp(max=1) / RECORDS
        for parameter, sample in samples:
            parameter.grad = torch.einsum("i,i...", factors, sample)
            parameter.grad_sample = None
        _finish(training)

    return step


def _step_by_ghost(training: Training) -> Callable[[], None]:
    from opacus.grad_sample import GradSampleModuleFastGradientClipping

    wrapped: Any = GradSampleModuleFastGradientClipping(
        training.model, loss_reduction="sum", strict=False, max_grad_norm=CLIP_NORM, use_ghost_clipping=True
    )

    def step() -> None:
        losses = training.losses()
        losses.sum().backward(retain_graph=True)  # type: ignore[no-untyped-call] # PyTorch's own
        training.optimizer.zero_grad()
        factors = wrapped.get_clipping_coef() / RECORDS
        wrapped.disable_hooks()
        (losses * factors).sum().backward()
        wrapped.enable_hooks()
        _finish(training)

    return step


def _finish(training: Training) -> None:
    training.optimizer.step()
    training.optimizer.zero_grad()


def ratios(setting: str, kind: str) -> list[float]:
    """Return the time of a private step over that of the plain step before it, for each pair."""
    plain, private = step_of("plain", make(setting)), step_of(kind, make(setting))
    plain()
    private()
    pairs = [(_seconds(plain), _seconds(private)) for _ in range(PAIRS)]
    return [after / before for before, after in pairs]


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def peak_mib(setting: str, kind: str) -> float:
    """Return the largest resident size of a fresh process that takes three steps."""
    arguments = json.dumps([setting, kind])
    command = [sys.executable, "-m", "benchmarks.private_gradients", arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def _measure_memory(setting: str, kind: str) -> None:
    step = step_of(kind, make(setting))
    for _ in range(3):
        step()
    print(peak_mebibytes())


def noise_share(setting: str) -> float:
    """Return the time of drawing one step's noise over that of a plain step."""
    training = make(setting)
    plain, entropy = step_of("plain", training), Entropy.secret()
    plain()
    shapes = [parameter.shape for parameter in training.parameters.values()]
    pairs = [(_seconds(plain), _seconds(lambda: [entropy.normal(shape) for shape in shapes])) for _ in range(3)]
    return statistics.median(noise / step for step, noise in pairs)


def main() -> None:
    warnings.simplefilter("ignore")  # Opacus' and PEFT's own
    torch.set_num_threads(1)
    for setting, aim in SETTINGS.items():
        plain = peak_mib(setting, "plain")
        for kind in ("ours", *OPACUS[setting]):
            measured = ratios(setting, kind)
            aims = f"; aims ≤ {aim} and ≤ {MEMORY_AIM}" if kind == "ours" else ""
            print(
                f"private step over plain step, {setting}, {RECORDS} x {TOKENS}, {kind}: time median "
                f"{statistics.median(measured):.2f} (min {min(measured):.2f}, max {max(measured):.2f}), "
                f"peak memory {peak_mib(setting, kind) / plain:.2f} of {plain:.0f} MiB{aims}",
                flush=True,
            )
        print(f"noise for a step over the plain step, {setting}: {noise_share(setting):.2f}", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    _measure_memory(*json.loads(sys.argv[1]))
