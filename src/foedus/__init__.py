"""Train Hugging Face Transformers across organisations that cannot share their data.

>>> import foedus
>>> config = foedus.load_config("examples/clinics.yaml")  # doctest: +SKIP
>>> result = foedus.run(config)  # doctest: +SKIP
>>> result.model  # an ordinary Hugging Face folder  # doctest: +SKIP
PosixPath('runs/clinics/model')
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foedus.api import (
        Comparison,
        RunResult,
        Verification,
        compare,
        explain,
        generate,
        load_config,
        predict,
        privacy_ledger,
        resume,
        run,
        set_privacy_budget,
        verify,
    )

__all__ = [
    "Comparison",
    "RunResult",
    "Verification",
    "compare",
    "explain",
    "generate",
    "load_config",
    "predict",
    "privacy_ledger",
    "resume",
    "run",
    "set_privacy_budget",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import the API when it is first used, so that `import foedus` costs nothing."""
    if name in __all__:
        return getattr(import_module("foedus.api"), name)
    raise AttributeError(f"module 'foedus' has no attribute '{name}'")
