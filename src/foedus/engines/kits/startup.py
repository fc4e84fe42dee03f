"""The part of a kit that NVIDIA FLARE reads, made by FLARE's own provisioning and then narrowed down.

FLARE's defaults let jobs bring code for sites whose role allows it, let administrators run shell commands on sites,
and stream sites' error logs to the server. A kit allows none of these.
"""

from __future__ import annotations

import importlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foedus.core.errors import LinkError, MissingExtra
from foedus.engines.kits.kit import LOCAL, STARTUP, League, Role
from foedus.privacy.signing.pins import write_whole

# All that a job may name. FLARE builds nothing else, whatever a job says.
ALLOWED_CLASSES = (
    "foedus.engines.flare.site.FlareSite",
    "foedus.engines.flare.coordinator.FlareCoordinator",
    "nvflare.collab.runtime.controller.CollabController",
    "nvflare.collab.runtime.executor.CollabExecutor",
)
# Who submits a run may see and stop it, and nothing beside.
PERMISSIONS: Mapping[str, Any] = {
    "format_version": "1.0",
    "permissions": {
        "lead": {
            "submit_job": "any",
            "clone_job": "none",
            "manage_job": "any",
            "download_job": "any",
            "view": "any",
            "operate": "none",
            "shell_commands": "none",
            "byoc": "none",
            "server-predeployed-flwr": "none",
        }
    },
}
_STORES = {"jobs-storage", "snapshot-storage"}
_STREAMS_LOGS = {"site_log_streamer", "log_receiver"}


def flare_module(name: str) -> Any:
    """Return a module of NVIDIA FLARE.

    Raises: MissingExtra if it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "a federation between organisations needs NVIDIA FLARE; install it: pip install 'foedus[deploy]'"
        ) from error


def write_startup(folder: Path, league: League, name: str, organisation: str, role: Role) -> None:
    """Write startup/ and local/ into a kit's folder, without certificate and key.

    Raises: LinkError if FLARE refuses; MissingExtra.
    """
    with tempfile.TemporaryDirectory(prefix="foedus-") as place:
        made = _provisioned(Path(place), league, name, organisation, role)
        for part in (STARTUP, LOCAL):
            shutil.copytree(made / part, folder / part)
    for script in [*(folder / STARTUP).glob("*.sh"), *(folder / STARTUP).glob("*.ipynb")]:
        script.unlink()  # kits start by foedus, which sees to limits and logs
    for text in [*(folder / STARTUP).glob("readme.txt"), *(folder / LOCAL).glob("*.sample")]:
        text.unlink()
    for draft in (folder / LOCAL).glob("*.default"):
        draft.rename(draft.with_suffix(""))
    resources = folder / LOCAL / "resources.json"
    resources.write_text(json.dumps(_narrowed(json.loads(resources.read_text())), indent=2) + "\n")
    if role != "researcher":
        (folder / LOCAL / "authorization.json").write_text(json.dumps(PERMISSIONS, indent=2) + "\n")


def place_storage(folder: Path) -> None:
    """Let the coordinator's FLARE keep jobs and snapshots inside the kit, wherever the kit lies now.

    FLARE wants absolute paths, and kits travel. To be called before each start.
    """
    path = folder / LOCAL / "resources.json"
    resources = json.loads(path.read_text())
    write_whole(path, json.dumps(_placed(resources, folder.resolve()), indent=2).encode() + b"\n")


def _provisioned(place: Path, league: League, name: str, organisation: str, role: Role) -> Path:
    """Return the folder that FLARE's provisioning made for a party. Nobody's keys are in it."""
    entity, provisioner = flare_module("nvflare.lighter.entity"), flare_module("nvflare.lighter.provisioner")
    workspace, static = (flare_module(f"nvflare.lighter.impl.{part}") for part in ("workspace", "static_file"))
    ports = {"fed_learn_port": league.port, "admin_port": league.admin_port}
    try:
        project = entity.Project(name=league.name, description="")
        project.set_server(league.host, "coordinator", ports)
        if role == "participant":
            project.add_client(name, organisation, {})
        if role == "researcher":
            project.add_admin(name, organisation, {"role": "lead"})
        builders = [
            workspace.WorkspaceBuilder(),
            static.StaticFileBuilder(config_folder="config", scheme=league.transport),
        ]
        made = provisioner.Provisioner(str(place), builders).provision(project, logger=_Silent())
    except (ValueError, RuntimeError) as error:
        raise LinkError(f"NVIDIA FLARE cannot make the kit of {name}: {error}") from error
    if made.get("__build_error__"):
        raise LinkError(f"NVIDIA FLARE cannot make the kit of {name}: {'; '.join(made.get_errors())}")
    return Path(made["current_prod_dir"]) / (league.host if role == "coordinator" else name)


def _narrowed(resources: dict[str, Any]) -> dict[str, Any]:
    """Return what FLARE may load here."""
    kept = [part for part in resources.get("components", []) if part["id"] not in _STREAMS_LOGS]
    return {
        **resources,
        "class_list_enforcement_mode": "enforce",
        "class_allow_list": list(ALLOWED_CLASSES),
        "allow_log_streaming": False,
        "components": kept,
    }


def _placed(value: Any, folder: Path) -> Any:
    """Return the same with FLARE's two stores put into the folder."""
    if isinstance(value, dict):
        return {key: _placed(inner, folder) for key, inner in value.items()}
    if isinstance(value, list):
        return [_placed(inner, folder) for inner in value]
    if isinstance(value, str) and Path(value).name in _STORES:
        return str(folder / Path(value).name)
    return value


class _Silent:
    """FLARE's provisioning tells what it does; what goes wrong is told by us."""

    def debug(self, text: str) -> None:
        """Tell nobody."""

    info = warning = error = debug
