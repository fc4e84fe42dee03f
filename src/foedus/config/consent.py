"""What a participant's own file says to a run: nothing against it, or every reason why not.

It is asked at the participant, of the run's resolved configuration, before any row is read for the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from foedus.config import sections
from foedus.config.errors import either
from foedus.config.sections import ParticipantFile, RunConfig
from foedus.config.secure_problems import hides_cohorts
from foedus.config.sites import columns_of
from foedus.core.errors import ConfigError, ConsentError, FoedusError
from foedus.models.sources import locate
from foedus.privacy.signing.digests import folder_digest

ARCHITECTURE = "architecture:"


def consent(file: ParticipantFile, run: RunConfig) -> None:
    """Return if the file allows the run.

    Raises: ConsentError with every reason why it does not, each with the file's key, one a line.
    """
    if found := list(refusals(file, run)):
        raise ConsentError("\n".join(f"run {run.name} is refused: {reason}" for reason in found))


def require_upload(file: ParticipantFile, size: int, what: str) -> None:
    """Return if a message of so many bytes may leave.

    what: which message, for the message of the error.
    Raises: ConsentError if it is too large.
    """
    if size > file.limits.upload_bytes:
        raise ConsentError(
            f"{what} has {size:,} bytes, and limits.upload_bytes of the participant's file allows "
            f"{file.limits.upload_bytes:,}; it was not sent"
        )


def refusals(file: ParticipantFile, run: RunConfig) -> Iterator[str]:
    """Yield every reason why the file does not allow the run, beginning with the file's key."""
    allow = file.allow
    if not any(fnmatchcase(run.name, pattern) for pattern in allow.runs):
        yield f"allow.runs is {', '.join(allow.runs)}, and the run is called {run.name}"
    if allow.tasks != "all" and run.task.kind not in allow.tasks:
        yield f"allow.tasks is {either(allow.tasks)}, and the run's is {run.task.kind}"
    if isinstance(run.strategy, sections.Custom):
        yield "strategy custom is a program of its own, and no program of another organisation is run here"
    elif allow.strategies != "all" and run.strategy.kind not in allow.strategies:
        yield f"allow.strategies is {either(allow.strategies)}, and the run's is {run.strategy.kind}"
    if allow.rounds is not None and run.rounds.count > allow.rounds:
        yield f"allow.rounds is {allow.rounds}, and the run has {run.rounds.count}"
    if run.local.replay is not None:
        yield "local.replay reads the record of another run, which there is none of here; leave it out"
    yield from _columns(file, run)
    yield from _model(file, run)
    yield from _what_is_shown(file, run)
    yield from _privacy(file, run)


def _columns(file: ParticipantFile, run: RunConfig) -> Iterator[str]:
    if file.allow.columns == "all":
        return
    if unseen := [name for name in columns_of(run.task).names if name not in file.allow.columns]:
        yield f"allow.columns is {', '.join(file.allow.columns)}, and the run reads {', '.join(unseen)}"


def _model(file: ParticipantFile, run: RunConfig) -> Iterator[str]:
    match run.model:
        case sections.Checkpoint() as checkpoint:
            yield from _path(file, checkpoint.path, checkpoint.revision)
        case sections.Architecture() as scratch:
            yield from _path(file, ARCHITECTURE + scratch.type, None)
            if isinstance(scratch.tokenizer, sections.Existing):
                yield from _path(file, scratch.tokenizer.path, None)


def _path(file: ParticipantFile, path: str, revision: str | None) -> Iterator[str]:
    """Yield why a model or tokenizer may not be loaded."""
    named = [model for model in file.allow.models if model.path == path]
    if not named:
        yield f"allow.models is {', '.join(model.path for model in file.allow.models)}, and the run's is {path}"
        return
    reasons = [reason for model in named if (reason := _differs(file, model, path, revision))]
    if len(reasons) == len(named):
        yield reasons[0]


def _differs(file: ParticipantFile, allowed: sections.AllowedModel, path: str, revision: str | None) -> str | None:
    if allowed.revision is not None and allowed.revision != revision:
        return f"allow.models has {path} at revision {allowed.revision}, and the run's is {revision or 'not given'}"
    if allowed.digest is None:
        return None
    try:
        found = model_digest(str(file.locate(allowed.folder)) if allowed.folder else path)
    except FoedusError as error:
        return f"allow.models has a digest of {path}, which cannot be computed: {error}"
    if found != allowed.digest:
        return f"allow.models has {path} with digest {allowed.digest}, and what lies here has {found}"
    return None


def model_digest(path: str) -> str:
    """Return the SHA-256 digest over a model's files, as allow.models[].digest has it.

    Raises: ModelError or MissingExtra if there are none; ConfigError for a name on the hub.
    """
    place = locate(path)
    if not place.is_local:
        raise ConfigError(f"{path} is a name on the hub, where a revision tells one model from another; give that")
    folder = Path(place.reference)
    if place.gguf_file is not None:
        return folder_digest([folder / place.gguf_file], folder).hex()
    files = [file for file in folder.rglob("*") if file.is_file() and file.suffix not in {".py", ".pyc"}]
    return folder_digest([file for file in files if not file.name.startswith(".")], folder).hex()


def _what_is_shown(file: ParticipantFile, run: RunConfig) -> Iterator[str]:
    """Yield what the coordinator, or everybody, would see of this organisation and may not."""
    allow = file.allow
    public = isinstance(file.data, sections.Part)
    if isinstance(run.secure_sum, sections.PlainSum) and not allow.plain_sums:
        yield (
            "allow.plain_sums is false, and secure_sum: none sends the coordinator this organisation's update by "
            "itself; use secure_sum: masks"
        )
    if not isinstance(run.secure_sum, sections.PlainSum) and run.secure_sum.min_cohort < allow.min_cohort:
        yield (
            f"allow.min_cohort is {allow.min_cohort}, and the run's secure_sum.min_cohort is "
            f"{run.secure_sum.min_cohort}, so that the coordinator could see sums of fewer"
        )
    if isinstance(run.secure_sum, sections.Ckks) and not allow.shared_key:
        yield (
            "allow.shared_key is false, and under secure_sum: ckks every participant holds the key that this "
            "organisation's update is encrypted with; use secure_sum: masks"
        )
    if isinstance(run.secure_sum, sections.Threshold) and not allow.unreviewed:
        yield (
            "allow.unreviewed is false, and secure_sum: threshold is cryptography that nobody outside has reviewed; "
            "use secure_sum: masks"
        )
    tokenizer = run.model.tokenizer if isinstance(run.model, sections.Architecture) else None
    if isinstance(tokenizer, sections.BPE) and not allow.plain_sums:
        yield (
            "allow.plain_sums is false, and a tokenizer bpe is learnt from counts that the coordinator sees; use "
            "bytes, or one that there is already"
        )
    if run.evaluation.per_site and not allow.own_figures:
        yield (
            "allow.own_figures is false, and evaluation.per_site shows each organisation's metrics; set it to false "
            "in the run"
        )
    private = not isinstance(run.privacy, sections.NoPrivacy)
    if isinstance(run.task, sections.TextClassification) and run.task.labels is None and private and not public:
        yield "task.labels is left out, and in a run with privacy no classes are gathered from private rows; list them"
    asks_for_labels = isinstance(run.task, sections.TextClassification) and run.task.labels is None
    if asks_for_labels and not (allow.tell_labels or public):
        yield "allow.tell_labels is false, and the run does not list task.labels, so that it would ask for them"


def _privacy(file: ParticipantFile, run: RunConfig) -> Iterator[str]:
    allow, privacy = file.allow, run.privacy
    if isinstance(privacy, sections.NoPrivacy):
        if not allow.without_privacy:
            yield "allow.without_privacy is false, and the run has no privacy: records"
        return
    if not allow.without_privacy and hides_cohorts(privacy):
        yield (
            "allow.without_privacy is false, and privacy: participants does not hide records from the coordinator; use "
            "privacy: records, or privacy.mechanism distributed"
        )
    if privacy.noise == "reproducible":
        if not isinstance(file.data, sections.Part):
            yield "privacy.noise: reproducible hides nothing from who knows the run's seed; use secret"
        elif file.budget is not None:
            yield "budget is given, and privacy.noise: reproducible protects nobody; use secret"
        if not allow.without_privacy:
            yield "allow.without_privacy is false, and privacy.noise: reproducible is none; use secret"
    if privacy.evaluation == "public" and not allow.public_evaluation:
        yield (
            "allow.public_evaluation is false, and privacy.evaluation: public shows exact figures on held-out rows; "
            "use off"
        )
    if privacy.noise == "reproducible":
        return
    if file.budget is None:
        yield "budget is missing, and the run spends privacy: without a limit nothing is spent"
        return
    if privacy.epsilon is not None and privacy.epsilon > file.budget.epsilon:
        yield f"budget.epsilon is {file.budget.epsilon:g}, and the run would spend {privacy.epsilon:g} by itself"
    if file.budget.unit != (unit := _unit(privacy)):
        yield f"budget.unit is {file.budget.unit}, and the run would spend of each {unit}, which that does not bound"


def _unit(privacy: sections.RecordPrivacy | sections.ParticipantPrivacy) -> str:
    if isinstance(privacy, sections.ParticipantPrivacy):
        return "participant"
    return "record" if privacy.record == "row" else "block"
