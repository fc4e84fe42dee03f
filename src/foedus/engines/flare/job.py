"""FLARE's one job: two classes of the installed package by name, and no code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from foedus.core.errors import MissingExtra

NAME = "foedus-link"
CLASSES = (
    "foedus.engines.flare.site.FlareSite",
    "foedus.engines.flare.coordinator.FlareCoordinator",
    "nvflare.collab.runtime.controller.CollabController",
    "nvflare.collab.runtime.executor.CollabExecutor",
)


def require_flare() -> None:
    """Check that NVIDIA FLARE is installed.

    Raises: MissingExtra.
    """
    try:
        import nvflare  # noqa: F401 - whether it is there
    except ModuleNotFoundError:
        raise MissingExtra(
            "a federation between organisations needs NVIDIA FLARE; install it: pip install 'foedus[deploy]'"
        ) from None


def link_recipe() -> Any:
    """Return FLARE's recipe of the job."""
    require_flare()
    from nvflare.collab.recipe import CollabRecipe

    from foedus.engines.flare.coordinator import FlareCoordinator
    from foedus.engines.flare.site import FlareSite

    class LinkRecipe(CollabRecipe):  # type: ignore[misc] # it ships no types
        @staticmethod
        def _user_source_entries(objects: Any) -> list[Any]:
            """Ship no code: every site has the package installed, and refuses what a job brings."""
            return []

    recipe = LinkRecipe(NAME, server=FlareCoordinator(), client=FlareSite(), min_clients=1)
    recipe._job.set_app_packages(["foedus"])
    return recipe


def export_job(folder: Path) -> Path:
    """Write the job into a folder and return where it lies there."""
    shutil.rmtree(folder / NAME, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    recipe = link_recipe()
    recipe.finalize().export_job(str(folder))
    return folder / NAME


def allow_classes(local: Path) -> None:
    """Let FLARE load the job's classes from a site's, or a simulator's, local folder, and no others."""
    local.mkdir(parents=True, exist_ok=True)
    path = local / "resources.json"
    resources = json.loads(path.read_text()) if path.exists() else {"format_version": 2}
    path.write_text(json.dumps({**resources, "class_allow_list": list(CLASSES)}, indent=2))
