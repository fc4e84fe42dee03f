"""Bare FLARE moving the payloads that the link moves: one call each way, tensors as FLARE takes them."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch
from nvflare.collab import collab
from nvflare.collab.api.context import get_call_context, set_call_context
from nvflare.collab.recipe import CollabRecipe
from nvflare.recipe.sim_env import SimEnv

from benchmarks.link_turns import take_turns
from benchmarks.peak_memory import peak_mebibytes


class BareSite:
    @collab.publish  # type: ignore[untyped-decorator] # nvflare ships no types
    def echo(self, payload: dict[str, Any]) -> dict[str, Any]:
        return payload


class BareCoordinator:
    @collab.main  # type: ignore[untyped-decorator] # nvflare ships no types
    def measure(self) -> None:
        """Measure how long small and large payloads take to go to all sites and back."""
        context, sites = get_call_context(), list(collab.clients)

        def to_all(payload: dict[str, Any]) -> float:
            def call(site: Any) -> None:
                set_call_context(context)
                site(timeout=600).echo(payload)

            began = time.perf_counter()
            threads = [threading.Thread(target=call, args=(site,)) for site in sites]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return time.perf_counter() - began

        payload = {"x": torch.rand(int(os.environ["LARGE_BYTES"]) // 4)}
        take_turns(
            {
                "small": lambda: [to_all({"x": b"small"}) for _ in range(50)],
                "large": lambda: to_all(payload),
                "memory": lambda: {"server's job": round(peak_mebibytes())},
            }
        )


class BareRecipe(CollabRecipe):  # type: ignore[misc] # it ships no types
    @staticmethod
    def _user_source_entries(objects: Any) -> list[Any]:
        return []


if __name__ == "__main__":
    folder, sites = Path(sys.argv[1]), sys.argv[2:]
    from benchmarks.link_bare import BareCoordinator as Coordinator
    from benchmarks.link_bare import BareSite as Site

    recipe = BareRecipe("bare", server=Coordinator(), client=Site())
    recipe._job.set_app_packages(["benchmarks"])
    local = folder / "bare" / "local"
    local.mkdir(parents=True)
    classes = ["benchmarks.link_bare.BareSite", "benchmarks.link_bare.BareCoordinator"]
    runtime = ["controller.CollabController", "executor.CollabExecutor"]
    allowed = [*classes, *(f"nvflare.collab.runtime.{name}" for name in runtime)]
    (local / "resources.json").write_text(json.dumps({"format_version": 2, "class_allow_list": allowed}))
    recipe.execute(SimEnv(clients=sites, workspace_root=str(folder)))
