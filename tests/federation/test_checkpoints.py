from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from foedus.core.errors import RunFolderError
from foedus.engines.in_process import InProcessEngine
from foedus.federation.checkpoints import checkpoints, load_checkpoint, load_trees, save_checkpoint, save_trees
from foedus.federation.protocols import ServerState
from foedus.strategies.fedavg import fedavg
from strategies.quadratics import pair, point


def engine() -> InProcessEngine:
    return InProcessEngine(fedavg().local, pair())


def state_after(rounds: int) -> ServerState:
    return ServerState(rounds, point(float(rounds)), {"momentum": point(-1.0), "second/moment": point(3.0)})


def saved(folder: Path, rounds: int, keep: int = 2) -> Path:
    return save_checkpoint(folder, state_after(rounds), engine(), {"config": "abc", "records": 17}, keep)


def test_a_checkpoint_gives_back_state_and_facts(tmp_path: Path) -> None:
    state, facts = load_checkpoint(saved(tmp_path, 3), engine())
    assert state.round == 3
    assert torch.equal(state.params["x"], point(3.0)["x"])
    assert (facts["config"], facts["records"]) == ("abc", 17)


def test_trees_come_back_with_their_types_shapes_and_bits(tmp_path: Path) -> None:
    shared = torch.arange(4.0)
    given = {
        "params": {
            "bf16": torch.tensor([0.1], dtype=torch.bfloat16),
            "scalar": torch.tensor(2.5, dtype=torch.float64),
            "empty": torch.zeros(0, 3),
            "view": torch.arange(12.0).reshape(3, 4)[:, 1],
            "model.layer.0/odd name": torch.tensor([-0.0, 1e-45]),
            "parameter": torch.nn.Parameter(torch.ones(2)),
        },
        "memory.previous": {"shared": shared, "again": shared},
    }
    save_trees(tmp_path / "inner" / "trees.safetensors", given)
    read = load_trees(tmp_path / "inner" / "trees.safetensors")
    assert {name: sorted(tree) for name, tree in read.items()} == {name: sorted(tree) for name, tree in given.items()}
    for name, tree in given.items():
        for key, tensor in tree.items():
            assert read[name][key].dtype == tensor.dtype
            assert torch.equal(read[name][key], tensor.detach())
    assert torch.signbit(read["params"]["model.layer.0/odd name"][0])


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_checkpoints_are_kept(tmp_path: Path, keep: int) -> None:
    for rounds in range(1, 6):
        saved(tmp_path, rounds, keep)
    assert [path.name for path in checkpoints(tmp_path)] == [f"round-{n:05d}" for n in range(6 - keep, 6)]


def test_a_crash_while_an_old_checkpoint_is_deleted_leaves_no_half_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, 1)
    with monkeypatch.context() as patched:

        def crash(path: Path, **_: object) -> None:
            if path.exists():
                (path / "server.safetensors").unlink()
                raise KeyboardInterrupt

        patched.setattr("shutil.rmtree", crash)
        with pytest.raises(KeyboardInterrupt):
            saved(tmp_path, 2, keep=1)
    assert [load_checkpoint(path, engine())[0].round for path in checkpoints(tmp_path)] == [2]
    saved(tmp_path, 3, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["round-00003"]


def test_checkpoints_are_in_the_order_of_rounds_however_many_digits_these_have(tmp_path: Path) -> None:
    for rounds in (100_000, 99_999, 7):
        saved(tmp_path, rounds, keep=9)
    assert [load_checkpoint(path, engine())[0].round for path in checkpoints(tmp_path)] == [7, 99_999, 100_000]


def test_a_checkpoint_of_the_same_round_is_replaced(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    save_checkpoint(tmp_path, ServerState(1, point(8.0)), engine(), {}, keep=2)
    assert torch.equal(load_checkpoint(tmp_path / "round-00001", engine())[0].params["x"], point(8.0)["x"])
    assert len(checkpoints(tmp_path)) == 1


def test_where_there_is_no_folder_there_are_no_checkpoints(tmp_path: Path) -> None:
    assert checkpoints(tmp_path / "absent") == []


def test_what_a_crash_left_half_written_is_not_a_checkpoint(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    half = tmp_path / ".round-00002.part"
    half.mkdir()
    (half / "server.safetensors").write_bytes(b"half")
    (half / "stale").write_text("of the crash")
    assert [path.name for path in checkpoints(tmp_path)] == ["round-00001"]
    place = saved(tmp_path, 2)
    assert sorted(path.name for path in place.iterdir()) == ["participants", "server.safetensors", "state.json"]
    assert not half.exists()


class Dying(InProcessEngine):
    """An engine whose process ends while it saves."""

    def save_memories(self, folder: Path) -> None:
        super().save_memories(folder)
        raise KeyboardInterrupt


def test_a_crash_while_saving_leaves_the_checkpoints_before_whole(tmp_path: Path) -> None:
    saved(tmp_path, 1, keep=1)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, state_after(2), Dying(fedavg().local, pair()), {}, keep=1)
    [place] = checkpoints(tmp_path)
    assert load_checkpoint(place, engine())[0].round == 1


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def without_params(path: Path) -> None:
    save_trees(path, {"memory.momentum": point(1.0)})


def replaced_by(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content)


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("state.json", cut_short),
        ("state.json", Path.unlink),
        ("state.json", replaced_by("[1, 2]")),
        ("state.json", replaced_by("{}")),
        ("state.json", replaced_by('{"round": null}')),
        ("server.safetensors", cut_short),
        ("server.safetensors", Path.unlink),
        ("server.safetensors", without_params),
        ("participants/participants.json", cut_short),
        ("participants/participants.json", Path.unlink),
    ],
)
def test_a_damaged_checkpoint_is_refused_with_what_to_do(
    tmp_path: Path, file: str, damage: Callable[[Path], object]
) -> None:
    saved(tmp_path, 1)
    place = saved(tmp_path, 2)
    damage(place / file)
    with pytest.raises(RunFolderError) as caught:
        load_checkpoint(place, engine())
    assert f"the checkpoint {place} is damaged" in str(caught.value)
    assert "delete that folder to go on from the round before it" in str(caught.value)


def test_nothing_in_a_checkpoint_is_pickled(tmp_path: Path) -> None:
    place = saved(tmp_path, 1)
    kinds = {path.suffix for path in place.rglob("*") if path.is_file()}
    assert kinds == {".json", ".safetensors"}
    assert json.loads((place / "state.json").read_text())["round"] == 1
