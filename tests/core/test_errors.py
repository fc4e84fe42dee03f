from __future__ import annotations

import inspect

import pytest

from foedus.core import errors

OURS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("kind", OURS)
def test_every_error_is_caught_by_catching_the_root(kind: type[Exception]) -> None:
    assert issubclass(kind, errors.FoedusError)


@pytest.mark.parametrize("kind", OURS)
def test_every_error_stands_in_the_tree_at_the_top_of_its_module(kind: type[Exception]) -> None:
    assert kind.__name__ in (errors.__doc__ or "")
