from __future__ import annotations

from pathlib import Path

import pytest

from foedus.core.errors import ConfigError
from foedus.strategies.custom import load_algorithm
from strategies.quadratics import pair, place, played

HALF_STEPS = """
from __future__ import annotations

from dataclasses import dataclass

from foedus.federation.protocols import Algorithm
from foedus.strategies.local_training import step_against, train_and_send_delta


@dataclass(frozen=True)
class Options:
    size: float


def algorithm(size: float = 0.5) -> Algorithm:
    options = Options(size)

    def step(state, aggregate):
        return step_against(state.params, aggregate.averaged["delta"], options.size), {}

    return Algorithm(train_and_send_delta, step)
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.py"
    path.write_text(text)
    return path


def test_a_users_own_file_is_a_strategy_like_any_other(tmp_path: Path) -> None:
    algorithm = load_algorithm(written(tmp_path, HALF_STEPS), {"size": 0.25})
    assert place(played(algorithm, pair((1, 1)), rounds=1)) == pytest.approx(0.25 * 0.1, rel=1e-14)


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        (HALF_STEPS, {"sise": 0.25}, r"strategy.options: algorithm\(\) in mine.py got an unexpected .*sise"),
        ("x = 1", {}, r"mine.py defines no function `algorithm\(\*\*options\)`"),
        ("def algorithm():\n    return 3", {}, r"algorithm\(\) in mine.py returned int; it must return a"),
    ],
    ids=["unknown option", "no function", "no algorithm"],
)
def test_a_file_that_is_no_strategy_is_refused_with_the_reason(
    tmp_path: Path, text: str, options: dict[str, float], expected: str
) -> None:
    with pytest.raises(ConfigError, match=expected):
        load_algorithm(written(tmp_path, text), options)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"strategy.path: .*absent.py is not a Python file"):
        load_algorithm(tmp_path / "absent.py", {})


def test_a_mistake_inside_a_users_file_is_shown_as_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        load_algorithm(written(tmp_path, "def algorithm():\n    return 1 + ''"), {})
