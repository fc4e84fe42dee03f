"""From `local.seconds` to what decides on each participant's steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from foedus.config import sections
from foedus.config.errors import nearest
from foedus.core.errors import ConfigError
from foedus.federation.messages import ParticipantId
from foedus.federation.run_folder import RunFolder
from foedus.training.pacing import Assumed, Measured, Pace, Recorded


def build_paces(config: sections.RunConfig, names: Sequence[ParticipantId]) -> Mapping[ParticipantId, Pace]:
    """Return each participant's pace; empty where all make the same steps, or passes.

    Raises: ConfigError if a participant is unknown, or a record does not tell what it has to.
    """
    local = config.local
    if local.seconds is None:
        return {}
    require_known(local.speeds, names, "local.speeds")
    if local.replay is not None:
        return read_recorded(RunFolder(config.locate(local.replay)), names, config.rounds.count)
    assert local.steps is not None, "a resolved configuration has it"
    paces: dict[ParticipantId, Pace] = dict.fromkeys(names, Measured(local.seconds, local.steps))
    return paces | {name: Assumed(local.seconds, speed) for name, speed in local.speeds.items()}


def require_known(given: Iterable[ParticipantId], names: Sequence[ParticipantId], where: str) -> None:
    """Check that participants are the run's.

    Raises: ConfigError with the nearest name.
    """
    for name in given:
        if name not in names:
            near = nearest(name, names)
            hint = f"did you mean {near}?" if near else f"its participants are {', '.join(names[:10])}"
            raise ConfigError(f"{where}: the run has no participant {name}; {hint}")


def read_recorded(folder: RunFolder, names: Sequence[ParticipantId], rounds: int) -> Mapping[ParticipantId, Pace]:
    """Return the steps that each participant made in each round of a run.

    Raises: ConfigError if the run has fewer rounds, or its record does not tell participants' own steps.
    """
    records = [record for record in folder.records() if record["round"] > 0]
    if len(records) < rounds:
        raise ConfigError(
            f"local.replay: {folder.path} has records of {len(records)} rounds, and this run has {rounds}; "
            "name a run's folder that has as many, or set rounds.count to that"
        )
    for record in records:
        if "sites" not in record or any(site.get("steps") is None for site in record["sites"].values()):
            raise ConfigError(
                f"local.replay: {folder.path} does not tell how many steps each participant made in round "
                f"{record['round']}; a run with evaluation.per_site: true does"
            )
    return {
        name: Recorded(
            {record["round"] - 1: record["sites"][name]["steps"] for record in records if name in record["sites"]}
        )
        for name in names
    }
