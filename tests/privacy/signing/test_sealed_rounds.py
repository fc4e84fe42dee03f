"""What a sealed round tells: each of its participants that it is in it, and everybody else nothing."""

from __future__ import annotations

import pytest

from foedus.core.errors import SignatureError
from foedus.privacy.signing.identity import Identity
from foedus.privacy.signing.sealed import check_opening, seal
from foedus.privacy.signing.statements import RoundResult, Signed, Updated, sign

RUN = "ab" * 16
NAMES = tuple(f"site-{number}" for number in range(9))
KEYS = {name: Identity.from_seed(name.encode().ljust(32, b"-")) for name in NAMES}


def update(name: str, digest: str = "1" * 64) -> Signed:
    stated = Updated(run=RUN, round=1, participant=name, request="2" * 64, update=digest)
    return sign(stated, KEYS[name], name)


def result(root: str | None) -> RoundResult:
    return RoundResult(run=RUN, round=1, stood=True, cohort=[], counted=[], sealed=root, params="3" * 64)


@pytest.mark.parametrize("count", range(len(NAMES) + 1))
def test_everyone_who_is_in_it_can_show_that_and_nobody_else_can(count: int) -> None:
    inside = {name: update(name) for name in NAMES[:count]}
    closed = seal(inside, len(NAMES))
    assert closed.openings.keys() == inside.keys()
    assert len({opening.place for opening in closed.openings.values()}) == count
    for name, signed in inside.items():
        opening = closed.openings[name]
        check_opening(signed, opening, result(closed.root), len(NAMES))
        others = [
            (update(name, "4" * 64), opening, closed.root),
            (signed, opening.model_copy(update={"salt": "0" * 64}), closed.root),
            (signed, opening.model_copy(update={"place": (opening.place + 1) % len(NAMES)}), closed.root),
            (signed, opening.model_copy(update={"path": opening.path[:-1]}), closed.root),
            (signed, opening, seal(inside, len(NAMES)).root),
            (signed, opening, None),
        ]
        for forged, shown, root in others:
            with pytest.raises(SignatureError, match="the proof that entry"):
                check_opening(forged, shown, result(root), len(NAMES))


def test_the_same_updates_are_sealed_in_another_root_and_order_each_time() -> None:
    """Nobody can try out who is in it: of 9! orders and 256-bit salts none comes twice."""
    inside = {name: update(name) for name in NAMES[:5]}
    seals = [seal(inside, len(NAMES)) for _ in range(20)]
    assert len({each.root for each in seals}) == 20
    assert len({each.openings[NAMES[0]].salt for each in seals}) == 20
    assert len({tuple(opening.place for opening in each.openings.values()) for each in seals}) > 15


def test_the_place_is_uniform_over_all_leaves() -> None:
    """Chi-squared of 1800 places over 9 leaves: mean 8, standard deviation 4; 40 is 8 of them away."""
    counts, only = [0] * len(NAMES), {NAMES[0]: update(NAMES[0])}
    for _ in range(1800):
        counts[seal(only, len(NAMES)).openings[NAMES[0]].place] += 1
    assert sum((count - 200) ** 2 / 200 for count in counts) < 40


def test_a_path_is_as_long_however_many_are_in_it() -> None:
    for inside in (NAMES[:1], NAMES[:8]):
        closed = seal({name: update(name) for name in inside}, 8)
        assert {len(opening.path) for opening in closed.openings.values()} == {3}
