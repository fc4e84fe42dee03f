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
    from foedus.api.compare import Comparison, compare
    from foedus.api.explain import explain
    from foedus.api.generate import generate
    from foedus.api.playing import RunResult
    from foedus.api.predict import predict
    from foedus.api.privacy import privacy_ledger, set_privacy_budget
    from foedus.api.privacy_plan import PrivacyPlan, plan_privacy
    from foedus.api.run import resume, run
    from foedus.api.verify import Verification, verify
    from foedus.config.loading import load_config

_MODULES = {
    "Comparison": "api.compare",
    "PrivacyPlan": "api.privacy_plan",
    "RunResult": "api.playing",
    "Verification": "api.verify",
    "compare": "api.compare",
    "explain": "api.explain",
    "generate": "api.generate",
    "load_config": "config.loading",
    "plan_privacy": "api.privacy_plan",
    "predict": "api.predict",
    "privacy_ledger": "api.privacy",
    "resume": "api.run",
    "run": "api.run",
    "set_privacy_budget": "api.privacy",
    "verify": "api.verify",
}

__all__ = [
    "Comparison",
    "PrivacyPlan",
    "RunResult",
    "Verification",
    "compare",
    "explain",
    "generate",
    "load_config",
    "plan_privacy",
    "predict",
    "privacy_ledger",
    "resume",
    "run",
    "set_privacy_budget",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is first used, so that `import foedus` costs nothing."""
    if name in _MODULES:
        return getattr(import_module(f"foedus.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'foedus' has no attribute '{name}'")
