"""The coordinator's session with FLARE's server: it submits the link's job, and sees who is connected."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foedus.core.errors import LinkError
from foedus.engines.flare.job import NAME, export_job, require_flare

if TYPE_CHECKING:  # torch is not for processes that only carry bytes
    from foedus.federation.messages import ParticipantId

LOGIN_S = 10.0
NO_JOBS = "no_jobs"  # as FLARE puts it


class Session:
    """A user's session. startup: the user's start-up folder. user: the name in its certificate."""

    def __init__(self, startup: Path, user: str) -> None:
        require_flare()
        from nvflare.fuel.flare_api.flare_api import new_secure_session

        with _told_as_link_error("log in to"), _silent():
            self._session: Any = new_secure_session(user, str(startup), timeout=LOGIN_S)

    def submit(self) -> str:
        """Submit the link's job and return its id."""
        with tempfile.TemporaryDirectory(prefix="foedus-") as folder, _told_as_link_error("submit a job to"), _silent():
            return str(self._session.submit_job(str(export_job(Path(folder)))))

    def clients(self) -> Collection[ParticipantId]:
        """Return the sites that are connected to the server."""
        with _told_as_link_error("ask"):
            return {client.name for client in self._session.get_connected_client_list()}

    def status(self, job: str) -> str:
        """Return what FLARE says of a job."""
        with _told_as_link_error("ask"):
            return str(self._session.get_job_status(job))

    def running(self) -> Collection[str]:
        """Return the ids of link jobs that are not over."""
        with _told_as_link_error("ask"):
            jobs = self._session.list_jobs()
            return {job["job_id"] for job in jobs if job.get("job_name") == NAME and "FINISHED" not in job["status"]}

    def without(self, job: str, sites: Collection[ParticipantId]) -> Collection[ParticipantId]:
        """Return which of these sites say that they do not play a job; those that say nothing are not among them."""
        with _told_as_link_error("ask"):
            said = self._session.get_client_job_status(sorted(sites)) or []
            playing = {each["client_name"] for each in said if each.get("job_id") == job}
            idle = {each["client_name"] for each in said if each.get("job_id") or each.get("status") == NO_JOBS}
            return (idle - playing) & set(sites)

    def abort(self, job: str) -> None:
        """End a job; one that is over stays so."""
        with contextlib.suppress(LinkError), _told_as_link_error("end a job of"):
            self._session.abort_job(job)

    def close(self) -> None:
        """Log out."""
        with contextlib.suppress(Exception):
            self._session.close()


@contextmanager
def _told_as_link_error(what: str) -> Iterator[None]:
    """Raise whatever FLARE raises as an error of ours; its own are of many types."""
    try:
        yield
    except LinkError:
        raise
    except Exception as error:
        raise LinkError(f"could not {what} NVIDIA FLARE's server ({type(error).__name__}: {error})") from error


@contextmanager
def _silent() -> Iterator[None]:
    """Keep what FLARE prints away from our users."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
