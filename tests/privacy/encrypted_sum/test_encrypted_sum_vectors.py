"""Values of encrypted sums that must stay what they are: those of one version open what those of another sent."""

from __future__ import annotations

import json

import pytest

from foedus.core.errors import SecureSumError
from foedus.privacy.encrypted_sum.parameters import DEGREE, choose
from foedus.privacy.encrypted_sum.secrets import SumSecrets
from privacy.encrypted_sum.encrypted_vector_making import PATH, ladder, made

VECTORS = json.loads(PATH.read_text())


def test_every_value_is_made_again() -> None:
    assert json.loads(json.dumps(made())) == VECTORS


@pytest.mark.parametrize("case", VECTORS["sums"], ids=lambda case: str(case["participants"]))
def test_bad_tags_fail(case: dict) -> None:  # type: ignore[type-arg]
    parameters = choose(case["participants"])
    secrets = SumSecrets(parameters, bytes.fromhex(VECTORS["roster"]), bytes.fromhex(case["secret"]))
    coefficients = ladder(parameters.modulus).reshape(1, 2, DEGREE)
    tags = case["tags"]
    for name, tag in tags.items():
        secrets.check(coefficients, tag, [name])
        for bad in (
            (tag + 1) % parameters.modulus,
            case["hash"],
            *(other for key, other in tags.items() if key != name),
        ):
            with pytest.raises(SecureSumError, match="not the sum"):
                secrets.check(coefficients, bad, [name])
    changed = coefficients.copy()
    changed[0, 1, 77] ^= 1
    with pytest.raises(SecureSumError, match="not the sum"):
        secrets.check(changed, tags["a"], ["a"])
