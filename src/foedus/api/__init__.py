"""What the command line and a notebook call."""

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
