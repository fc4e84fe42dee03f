"""A user's own strategy, from a Python file of theirs."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foedus.core.errors import ConfigError
from foedus.federation.protocols import Algorithm


def load_algorithm(path: Path, options: Mapping[str, Any]) -> Algorithm:
    """Run a file and return what its function `algorithm(**options)` returns.

    The file is code of whoever starts the run and has all of their rights.
    Raises: ConfigError if the file is missing, defines no such function, or it returns something else.
    """
    spec = importlib.util.spec_from_file_location(f"foedus_strategy_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ConfigError(f"strategy.path: {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    make = getattr(module, "algorithm", None)
    if not callable(make):
        raise ConfigError(f"strategy.path: {path} defines no function `algorithm(**options)`")
    try:
        inspect.signature(make).bind(**options)
    except TypeError as error:
        raise ConfigError(f"strategy.options: algorithm() in {path.name} {error}") from error
    made = make(**options)
    if not isinstance(made, Algorithm):
        raise ConfigError(
            f"strategy.path: algorithm() in {path.name} returned {type(made).__name__}; "
            "it must return a foedus.federation.protocols.Algorithm"
        )
    return made
