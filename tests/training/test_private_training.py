"""Local training with private steps: what is clipped, noised, divided, and told."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import nn

from foedus.core import trees
from foedus.core.errors import ParticipantError
from foedus.core.seeds import SeedKey
from foedus.core.trees import ParamTree
from foedus.federation.messages import Clock
from foedus.federation.protocols import Correction
from foedus.privacy.gradients.clipped_sums import ClippedSums
from foedus.privacy.plan import RecordPlan
from foedus.training.private_steps import PrivateSteps
from foedus.training.settings import LocalSettings
from foedus.training.site_task import SiteTask
from foedus.training.task import Example
from foedus.training.workspace import Workspace
from training.small_task import CPU, WIDTH, RowFitting, small_model

SILENT = 1e-9  # a noise multiplier that cannot be seen
PLAN = RecordPlan("record", SILENT, clip_norm=0.5, sampling_rate=1.0, steps_per_round=1, delta=1e-3, records=12)
SETTINGS = LocalSettings(learning_rate=1.0, batch_size=5, optimizer="sgd", gradient_clip=None, group_by_length=False)
SEED = SeedKey.from_seed(11)


def records(count: int = 12) -> Sequence[Example]:
    draw = SEED.child("records").torch()
    lengths = [1 + i % 4 for i in range(count)]
    return [
        {"inputs": torch.randn(n, WIDTH, generator=draw), "targets": 3 * torch.randn(n, generator=draw)}
        for n in lengths
    ]


def private_site(plan: RecordPlan = PLAN, seed: SeedKey | None = SEED, settings: LocalSettings = SETTINGS) -> SiteTask:
    model = small_model()
    workspace = Workspace(model, dict(model.named_parameters()), settings, CPU)
    sums = ClippedSums(model, workspace.parameters, plan.clip_norm)
    rows = {"train": records(plan.records)}
    return SiteTask(RowFitting(), workspace, settings, rows, SEED, private=PrivateSteps(plan, sums, seed))


def start_of(site: SiteTask) -> ParamTree:
    return trees.clone(site.workspace.parameters)


def moved(site: SiteTask, start: ParamTree, round_number: int = 0, correction: Correction | None = None) -> ParamTree:
    """Return what one round takes off the parameters; with a learning rate of 1 that is the gradient."""
    return trees.subtract(start, site.train(start, Clock(round_number, 1000), correction).params)


def clipped_one_by_one(site: SiteTask, start: ParamTree, clip_norm: float) -> ParamTree:
    """Return the sum of clipped gradients, by one backward pass a record."""
    model, task = site.workspace.model, site.task
    site.workspace.load(start)
    total = trees.zeros_like(start)
    parameters = dict(model.named_parameters())
    for record in site.splits["train"]:
        gradients = torch.autograd.grad(
            task.record_losses(model, task.collate([record])).sum(), list(parameters.values())
        )
        gradient = dict(zip(parameters, gradients, strict=True))
        total = trees.add_scaled(total, gradient, min(1.0, clip_norm / trees.norm(gradient)))
    return total


def assert_close(left: ParamTree, right: ParamTree) -> None:
    for name, tensor in left.items():
        torch.testing.assert_close(tensor, right[name], rtol=1e-4, atol=1e-6)


def test_a_step_goes_along_the_sum_of_clipped_gradients_over_the_expected_batch() -> None:
    site = private_site()
    start = start_of(site)
    gone = moved(site, start)
    assert_close(gone, trees.scale(clipped_one_by_one(site, start, PLAN.clip_norm), 1 / PLAN.expected_batch))


def test_the_batch_expected_divides_however_many_records_came() -> None:
    half = replace(PLAN, sampling_rate=0.5)
    site = private_site(half)
    start = start_of(site)
    drawn = private_site(half).private
    assert drawn is not None
    batch = drawn.draw(drawn.entropy(0))
    assert 0 < len(batch) != half.expected_batch
    chosen = replace(site, splits={"train": [site.splits["train"][i] for i in batch]})
    wanted = clipped_one_by_one(chosen, start, half.clip_norm)
    assert_close(moved(site, start), trees.scale(wanted, 1 / half.expected_batch))


def test_no_record_can_move_a_step_by_more_than_the_clip_norm_over_the_batch() -> None:
    site = private_site()
    start = start_of(site)
    whole = moved(site, start)
    for left_out in range(PLAN.records):
        rest = [row for i, row in enumerate(site.splits["train"]) if i != left_out]
        fewer = replace(PLAN, records=len(rest))
        assert site.private is not None
        without = replace(site, splits={"train": rest}, private=replace(site.private, plan=fewer))
        gone = trees.scale(moved(without, start), fewer.expected_batch / PLAN.expected_batch)
        assert trees.norm(trees.subtract(whole, gone)) <= PLAN.clip_norm / PLAN.expected_batch * (1 + 1e-5)


@pytest.mark.parametrize("claimed", [2 / 3, 1.0, 3 / 2])
def test_the_noise_in_the_weights_is_the_planned_one(claimed: float) -> None:
    plan = replace(PLAN, noise_multiplier=2.0)
    site = private_site(plan, seed=None)
    start = start_of(site)
    exact = trees.scale(clipped_one_by_one(site, start, plan.clip_norm), 1 / plan.expected_batch)
    noise = [trees.subtract(moved(site, start, number), exact) for number in range(300)]
    values = torch.cat([tensor.flatten().double() for tree in noise for tensor in tree.values()])
    supposed = claimed * plan.noise_stddev / plan.expected_batch
    # of n squares of standard normals the mean is within 5 * sqrt(2 / n) of 1 but for a chance under 1e-6
    deviation = float((values / supposed).square().mean()) - 1
    assert (abs(deviation) < 5 * math.sqrt(2 / len(values))) == (claimed == 1.0)


def test_empty_batches_step_and_count_and_never_reach_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    rare = replace(PLAN, noise_multiplier=1.0, sampling_rate=1e-9, steps_per_round=4)
    site = private_site(rare)

    def refuse(self: RowFitting, model: nn.Module, batch: object) -> torch.Tensor:
        raise AssertionError("an empty batch reached the model")

    monkeypatch.setattr(RowFitting, "record_losses", refuse)
    start = start_of(site)
    result = site.train(start, Clock(0, 1))
    assert len(result.step_sizes) == 4
    assert trees.norm(trees.subtract(start, result.params)) > 0


def test_no_figure_of_the_rows_goes_with_the_update() -> None:
    site = private_site()
    result = site.train(start_of(site), Clock(0, 1))
    assert result.metrics == {}
    assert result.counts == {"steps": 1}


def test_a_gradient_without_noise_is_not_given() -> None:
    site = private_site()
    with pytest.raises(ParticipantError, match="without noise"):
        site.gradient(start_of(site))


def test_secret_steps_differ_and_reproducible_ones_do_not() -> None:
    plan = replace(PLAN, noise_multiplier=1.0, sampling_rate=0.5)
    secret, seeded = private_site(plan, seed=None), private_site(plan)
    start = start_of(secret)
    assert trees.norm(trees.subtract(moved(secret, start), moved(secret, start))) > 0
    assert trees.norm(trees.subtract(moved(seeded, start), moved(seeded, start))) == 0
    assert trees.norm(trees.subtract(moved(seeded, start, 0), moved(seeded, start, 1))) > 0


def test_a_strategys_correction_is_added_whole_after_clipping_and_noise() -> None:
    site = private_site()
    start = start_of(site)
    offset = {name: torch.full_like(tensor, 7.0) for name, tensor in start.items()}
    corrected = moved(site, start, correction=Correction(offset=offset))
    assert_close(corrected, trees.add(moved(site, start), offset))
