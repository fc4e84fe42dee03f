"""With `per_site: false` no participant's own figure leaves it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import foedus
from end_to_end.small_runs import SITES, records, small_run, weights
from foedus.cli.main import app
from reporting.page_reading import assert_sound

pytestmark = pytest.mark.end_to_end


def played(folder: Path, name: str, per_site: bool) -> tuple[Path, str]:
    """Return the folder of a run and what it wrote as JSON lines."""
    config = small_run(folder, local={"batch_size": 3}) | {"name": name, "evaluation": {"per_site": per_site}}
    # Sites of different sizes, so that each has figures which no sum has.
    for place, site in enumerate(SITES):
        rows = (folder / "sites" / f"{site}.csv").read_text().splitlines()
        (folder / "sites" / f"{site}.csv").write_text("\n".join([*rows[: 21 - 4 * place], ""]))
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    done = CliRunner().invoke(app, ["run", str(folder / f"{name}.yaml"), "--json"])
    assert done.exit_code == 0, done.output
    return folder / "runs" / name, done.stdout


def numbers(value: Any) -> Iterator[float]:
    """Yield every number in a JSON value."""
    match value:
        case dict():
            for inner in value.values():
                yield from numbers(inner)
        case list():
            for inner in value:
                yield from numbers(inner)
        case float() | int() if not isinstance(value, bool):
            yield value


def test_a_private_run_tells_no_figure_of_a_participant(tmp_path: Path) -> None:
    (open_run, _), (run, said) = played(tmp_path, "open", True), played(tmp_path, "private", False)
    assert weights(run) == weights(open_run)
    assert [r["evaluation"]["all"] for r in records(run)] == [r["evaluation"]["all"] for r in records(open_run)]

    told: set[float] = set()
    for record in records(open_run):
        told |= set(numbers(record["evaluation"]["sites"])) | set(numbers(record.get("sites", {})))
    losses = {figure for figure in told if figure not in (0.0, 1.0) and len(repr(figure)) > 8}
    assert len(losses) >= 3 * 3 + 2 * 3  # evaluations of three sites, and training of two rounds
    for name in ("rounds.jsonl", "summary.json", "model/README.md", "report.html", "config.yaml"):
        text = (run / name).read_text()
        assert not [figure for figure in losses if repr(figure) in text], name
    assert not [figure for figure in losses if repr(figure) in said]


def test_a_private_run_names_participants_only_where_they_took_part(tmp_path: Path) -> None:
    run, said = played(tmp_path, "private", False)
    for record in records(run):
        assert "sites" not in record
        assert "sites" not in record["evaluation"]
        without = {name: value for name, value in record.items() if name != "cohort"}
        assert not [site for site in SITES if site in json.dumps(without)]
    summary = json.loads((run / "summary.json").read_text())
    assert "sites" not in summary
    assert summary["participants"] == len(SITES)
    page = assert_sound((run / "report.html").read_text())
    card = (run / "model" / "README.md").read_text()
    assert not [site for site in SITES if site in page.text or site in card]

    events = [json.loads(line) for line in said.splitlines()]
    reports = [event for event in events if event["event"] == "participant_reported"]
    assert len(reports) == 2 * len(SITES) + 3 * len(SITES)
    assert {report["loss"] for report in reports} == {None}
    assert not [site for site in SITES if site in json.dumps(events[-1])]


def test_a_sum_over_one_participant_is_not_told_either(tmp_path: Path) -> None:
    config = small_run(tmp_path, rounds={"cohort": {"kind": "fixed", "size": 1}})
    (open_run, run) = (
        foedus.run({**config, "name": name, "evaluation": {"per_site": per_site}}).folder
        for name, per_site in (("open", True), ("private", False))
    )
    assert weights(run) == weights(open_run)
    for private, told in zip(records(run)[1:], records(open_run)[1:], strict=True):
        assert told["train"]
        assert told["weight"] == 16
        assert (private["train"], private["weight"]) == ({}, None)
    assert_sound((run / "report.html").read_text())
