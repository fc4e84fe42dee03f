"""Processes that only carry bytes stay small: what trains is another one's."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "pyarrow", "scipy", "dp_accounting", "nvflare")


@pytest.mark.parametrize("module", ["foedus.api.serve", "foedus.engines.flare.link", "foedus.config.loading"])
def test_what_a_long_lived_process_starts_from_imports_no_library_for_training(module: str) -> None:
    code = f"import sys, {module}; print(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("end", ["site.FlareSite", "coordinator.FlareCoordinator"])
def test_a_job_of_flare_finds_no_tensors_to_load_torch_for(end: str) -> None:
    module, name = end.split(".")
    code = (
        f"import sys; from foedus.engines.flare.{module} import {name}; {name}()\n"
        "from nvflare.fuel.utils.import_utils import optional_import\n"
        "print(optional_import('nvflare.app_opt.pt.decomposers', name='TensorDecomposer')[1], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
