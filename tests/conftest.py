"""No test reaches for the network, nor into the user's home: set before anything imports what reads these."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(autouse=True, scope="session")
def _outside_the_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Put privacy ledgers and tables of ε where the tests' other files lie."""
    folder: Path = tmp_path_factory.mktemp("privacy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOEDUS_LEDGERS", str(folder / "ledgers"))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield
