from pathlib import Path

import pytest

from foedus.engines.flare.connection import Connection

REFUSED = "conn_manager - ERROR - Connector [CH00001] failed with exception ConnectionRefusedError: [Errno 111]\n"
OTHER = (
    "ERROR - Connector failed with exception SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate\n"
)
UNKNOWN = "ERROR - SSLError: [SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca (_ssl.c:2559)\n"
CONNECTED = "FederatedClient - INFO - Successfully registered client:north for project league.\n"


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        (REFUSED, "nobody answers at host:1"),
        (OTHER, "shows a certificate of another federation"),
        (UNKNOWN, "does not accept this kit's certificate"),
        (CONNECTED, "connected to the coordinator at host:1"),
    ],
)
def test_what_flare_prints_is_told_in_words(tmp_path: Path, line: str, meaning: str) -> None:
    log = tmp_path / "log"
    connection = Connection(log, "host:1")
    log.write_text("INFO - nothing\n" + line)
    assert meaning in connection.news()


def test_news_is_told_once_and_the_latest_counts(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(OTHER)
    connection = Connection(log, "host:1")
    assert connection.news() == ""  # it is of an earlier start
    with log.open("a") as file:
        file.write(REFUSED)
        file.flush()
        assert "nobody answers" in connection.news()
        file.write(REFUSED)
        file.flush()
        assert connection.news() == ""
        file.write(REFUSED + CONNECTED)
        file.flush()
        assert "connected" in connection.news()
