"""The trainer with real, tiny Transformers, beside their own loss and PyTorch's own optimizer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from foedus.core import trees
from foedus.core.seeds import SeedKey
from foedus.core.trees import ParamTree
from foedus.federation.messages import Clock
from foedus.federation.protocols import ServerState
from foedus.federation.round import play_round
from foedus.models.travel import travelling
from foedus.strategies.fedavg import fedavg
from foedus.training.settings import LocalSettings
from foedus.training.site_task import SiteTask
from foedus.training.workspace import Workspace
from strategies.quadratics import federation
from tiny_models import Family, Head, tiny
from tiny_tasks import ROWS, tiny_task
from training.plain_loop import plain_batches, plain_optimizer

SETTINGS = LocalSettings(learning_rate=1e-2, batch_size=4, epochs=3, weight_decay=0.1)
WITHOUT_DROPOUT: dict[Family, dict[str, Any]] = {
    "bert": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "gpt2": {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
}
CASES: list[tuple[Family, Head]] = [("bert", "classification"), ("gpt2", "causal_lm")]


def participant(model: Any, tokenizer: Any, head: Head, settings: LocalSettings, name: str = "a") -> SiteTask:
    task = tiny_task(head, tokenizer)
    rows = task.encode(ROWS)
    workspace = Workspace(model, travelling(model), settings, torch.device("cpu"))
    return SiteTask(task, workspace, settings, {"train": rows, "test": rows}, SeedKey.from_seed(0).child(name))


def built_in_loss(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the mean loss that transformers itself computes."""
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    if "targets" in batch:  # transformers shifts labels itself, so give it the whole text
        last = batch["targets"].gather(1, batch["attention_mask"].sum(1, keepdim=True) - 1)
        whole = torch.cat([batch["input_ids"], torch.zeros_like(last)], 1)
        whole.scatter_(1, batch["attention_mask"].sum(1, keepdim=True), last)
        mask = torch.cat([torch.ones_like(last), batch["attention_mask"]], 1)
        return model(input_ids=whole, attention_mask=mask, labels=whole.masked_fill(mask == 0, -100)).loss  # type: ignore[no-any-return] # transformers
    return model(**inputs, labels=batch["labels"]).loss  # type: ignore[no-any-return] # transformers


def trained_plainly(model: Any, site: SiteTask) -> ParamTree:
    optimizer = plain_optimizer(model, site.settings)
    model.train()
    for (indices,) in plain_batches(site, 0):
        optimizer.zero_grad()
        batch = site.task.collate([site.splits["train"][i] for i in indices])
        built_in_loss(model, dict(batch)).backward()  # type: ignore[no-untyped-call] # PyTorch's own
        torch.nn.utils.clip_grad_norm_(model.parameters(), site.settings.gradient_clip or 0.0)
        optimizer.step()
    return trees.clone(travelling(model))


@pytest.mark.parametrize(("family", "head"), CASES)
def test_one_participants_round_is_training_with_the_models_own_loss(family: Family, head: Head) -> None:
    model, tokenizer = tiny(family, head, **WITHOUT_DROPOUT[family])
    site = participant(model, tokenizer, head, SETTINGS)
    start = trees.clone(travelling(model))
    state, report = play_round(federation(fedavg(), {"a": site}, rounds=1), ServerState(0, start))
    assert report.stood

    twin, _ = tiny(family, head, **WITHOUT_DROPOUT[family])
    for name, tensor in trained_plainly(twin, site).items():
        torch.testing.assert_close(state.params[name], tensor, rtol=1e-3, atol=2e-5)
        assert not torch.equal(state.params[name], start[name])


@pytest.mark.parametrize(("family", "head"), CASES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_with_dropout_a_participant_trains_alike_whoever_trained_before(
    family: Family, head: Head, precision: Any
) -> None:
    settings = replace(SETTINGS, precision=precision, keep_optimizer=True)

    def trained(*names: str) -> ParamTree:
        model, tokenizer = tiny(family, head)
        start = trees.clone(travelling(model))
        first = participant(model, tokenizer, head, settings)
        for name in names:
            result = replace(first, key=SeedKey.from_seed(0).child(name)).train(start, Clock(0, 1))
        return trees.clone({**result.params, **(result.optimizer or {})})

    alone, after_another = trained("b"), trained("a", "b")
    assert alone.keys() == after_another.keys()
    assert all(torch.equal(alone[name], after_another[name]) for name in alone)
    assert not all(torch.equal(alone[name], tensor) for name, tensor in trained("a").items())


@pytest.mark.parametrize(("family", "head"), CASES)
def test_a_few_rounds_learn_the_rows_by_heart(family: Family, head: Head) -> None:
    model, tokenizer = tiny(family, head)
    site = participant(model, tokenizer, head, replace(SETTINGS, epochs=10, keep_optimizer=True))
    run = federation(fedavg(), {"a": site, "b": replace(site, key=site.key.child("b"))}, rounds=3)
    run = replace(run, score=site.task.score, plan=replace(run.plan, evaluate_every=1))
    state, losses = ServerState(0, trees.clone(travelling(model))), []
    for _ in range(3):
        state, report = play_round(run, state)
        assert report.evaluation is not None
        losses.append(site.task.score(report.evaluation.union)["loss"])
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.8 * losses[0]
