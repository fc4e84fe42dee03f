"""Checking a whole signed run offline: its log, its attestation, and the files that they are about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from foedus.core.errors import RunFolderError, SignatureError
from foedus.federation.checkpoints import checkpoints, load_trees
from foedus.federation.run_folder import Record, RunFolder
from foedus.privacy.signing.attestation import (
    LOG,
    PrivacyFigures,
    SignedAttestation,
    counted_by_round,
    figures_digest,
    load_attestation,
    model_digest,
)
from foedus.privacy.signing.digests import file_digest, tree_digest
from foedus.privacy.signing.identity import PublicKey
from foedus.privacy.signing.log import read_log
from foedus.privacy.signing.pins import Pins, require
from foedus.privacy.signing.round_entries import ReadLog, check_entries
from foedus.privacy.signing.signed_engine import plain
from foedus.privacy.signing.statements import COORDINATOR, check

Passed = Callable[[str], None]


def verify_run(folder: RunFolder, summary: Mapping[str, object], pins: Pins | None, passed: Passed) -> ReadLog:
    """Return the run's log if all that can be checked from its folder holds.

    summary: of summary.json. pins: whose keys are whose; None checks that signatures fit the keys in the
    log, and not whose these are. passed: is told what holds, in order.
    Raises: SignatureError with the first thing that does not hold.
    """
    signed = load_attestation(folder.path)
    entries, tree = read_log(folder.path / LOG)
    log = check_entries(entries, tree)
    passed(f"the log holds {len(entries)} entries, each signed by whom it names, in the order of the rounds")
    check_attestation(signed, log)
    passed(
        f"the attestation is of this log, and {len(signed.signatures)} signed it: all participants and {COORDINATOR}"
    )
    if pins is None:
        passed("NOT CHECKED: whose keys these are; give the folder of your pins (--keys)")
    else:
        for name, key in {COORDINATOR: log.begun.coordinator, **log.begun.roster}.items():
            require(pins, name, PublicKey.from_hex(key), former=True)
        passed("every key is the one that is pinned for its name")
    check_files(signed, log, folder)
    passed("the configuration and the model's files are those that were signed")
    records = read_records(folder)
    check_records(log, records)
    passed(f"the records of {len(log.results)} rounds say what the signed results say")
    check_privacy(signed, PrivacyFigures.of(summary, records))
    passed(
        "the privacy figures are those that were signed" if signed.attestation.guarantee else "no privacy is claimed"
    )
    if figures_digest(folder) != signed.attestation.figures:
        raise SignatureError(f"{folder.rounds.name} or {folder.summary.name} is not as it was signed")
    passed("the records and the summary are those that were signed")
    passed(check_params(log, folder))
    return log


def check_attestation(signed: SignedAttestation, log: ReadLog) -> None:
    """Return if the attestation is about this log, and everybody signed it.

    Raises: SignatureError with what is wrong.
    """
    attested, begun, last = signed.attestation, log.begun, log.results[-1]
    if (attested.size, attested.root) != (len(log.tree), log.tree.root().hex()):
        raise SignatureError(
            f"the log has {len(log.tree)} entries and the root {log.tree.root().hex()}, but attested are "
            f"{attested.size} and {attested.root}: the log was changed after it was signed"
        )
    if (attested.run, attested.settings, attested.inputs) != (begun.run, begun.settings, begun.inputs):
        raise SignatureError("the attestation is of another run, other settings or other data than the log")
    if (attested.rounds, attested.params) != (last.round, last.params):
        raise SignatureError("the attestation has other rounds or parameters than the last result in the log")
    if attested.counted != counted_by_round(log.results):
        raise SignatureError("the attestation names others as those who counted than the log does")
    keys = {COORDINATOR: begun.coordinator, **begun.roster}
    if missing := sorted(keys.keys() - signed.signatures.keys()):
        raise SignatureError(f"the attestation is not signed by {', '.join(missing)}")
    if unknown := sorted(signed.signatures.keys() - keys.keys()):
        raise SignatureError(f"the attestation is signed by {', '.join(unknown)}, who took no part in the run")
    for name, signature in signed.signatures.items():
        check(attested, PublicKey.from_hex(keys[name]), signature, name)


def check_files(signed: SignedAttestation, log: ReadLog, folder: RunFolder) -> None:
    """Return if config.yaml and the model's files are those that were signed.

    Raises: SignatureError with the one that is not.
    """
    if file_digest(folder.config).hex() != log.begun.settings:
        raise SignatureError(f"{folder.config} is not the configuration that the run began with")
    if model_digest(folder) != signed.attestation.model:
        raise SignatureError(f"the files in {folder.model} are not those that were signed: one was changed or added")


def read_records(folder: RunFolder) -> Sequence[Record]:
    """Return what rounds.jsonl holds.

    Raises: SignatureError if it cannot be read.
    """
    try:
        records = folder.records()
    except (OSError, ValueError, RecursionError) as error:
        raise SignatureError(f"{folder.rounds} cannot be read ({type(error).__name__})") from error
    if not all(isinstance(record, dict) for record in records):
        raise SignatureError(f"{folder.rounds} holds a line that is no record")
    return records


def check_records(log: ReadLog, records: Sequence[Record]) -> None:
    """Return if rounds.jsonl says of every round what the signed result says.

    Raises: SignatureError with the first round that differs.
    """
    played = [record for record in records if record.get("round")]
    if len(played) != len(log.results):
        raise SignatureError(f"rounds.jsonl has {len(played)} rounds, and the log {len(log.results)}")
    for record, result in zip(played, log.results, strict=True):
        cohort = record.get("cohort", [])  # where participants are hidden, it is told by neither
        said = (record.get("round"), record.get("stood"), cohort, plain(record.get("privacy")))
        if said != (result.round, result.stood, result.cohort, result.privacy):
            raise SignatureError(f"rounds.jsonl says something else of round {result.round} than the signed result")
    for record in records:
        evaluation = record.get("evaluation")
        sites = evaluation.get("sites", {}) if isinstance(evaluation, dict) else {}
        signed = log.evaluated.get(record.get("round", 0), ())
        if unsigned := sorted(set(sites) - set(signed)):
            raise SignatureError(
                f"rounds.jsonl has figures of {', '.join(unsigned)} after round {record.get('round')}, who signed none"
            )


def check_privacy(signed: SignedAttestation, figures: PrivacyFigures) -> None:
    """Return if the run's files claim the privacy that was signed.

    Raises: SignatureError if they claim another.
    """
    if figures.guarantee != signed.attestation.guarantee:
        raise SignatureError("summary.json claims another privacy guarantee than the one that was signed")
    if figures.ledger != signed.attestation.ledger:
        raise SignatureError("the last round's record has another privacy spending than the one that was signed")


def check_params(log: ReadLog, folder: RunFolder) -> str:
    """Return what a checkpoint, if one is left, says of the last signed parameters.

    Raises: SignatureError if it holds others.
    """
    places = checkpoints(folder.checkpoints)
    last = log.results[-1]
    if not places or places[-1].name != f"round-{last.round:05d}":
        return "NOT CHECKED: the last round's parameters, since no checkpoint of it is left"
    try:
        params = load_trees(places[-1] / "server.safetensors")["params"]
    except (RunFolderError, KeyError) as error:
        raise SignatureError(f"the checkpoint {places[-1]} cannot be read ({error})") from error
    if tree_digest(params).hex() != last.params:
        raise SignatureError(f"the checkpoint {places[-1]} holds other parameters than those that were signed")
    return "the last checkpoint holds the parameters that were signed"
