"""Every deliberate error of foedus.

FoedusError
├── ConfigError      the YAML file, or an option, asks for something that cannot be done
├── DataError        a participant's files cannot be read or used
├── ModelError       a checkpoint cannot be loaded, tuned or exported as asked
├── MissingExtra     an optional dependency is not installed
├── ParticipantError a participant's work in a round cannot be used; it is left out, the run goes on
├── RoundError       too few participants reported, round after round
├── MessageError     bytes that another party sent are no message, or an answer to another one
│   └── ForgottenError  a participant was started again, and has to be told anew what the run is
├── LinkError        the way to the other organisations cannot be set up, or is not allowed
├── ConsentError     a participant's own file does not allow what a run asks of it
├── SecureSumError   a message or a step of a secure sum breaks its rules; who sees it takes no further part
├── SignatureError   a key, a signature, or a proof of what a log holds cannot be trusted
├── BudgetError      a round, or a run, would spend more privacy than a budget allows, or hide what it spends
├── LedgerError      the record of spent privacy cannot be read or written, so nothing may be spent
└── RunFolderError   a run folder is missing, in use, damaged, or of another run

A message says what was being done, what was seen, what is allowed and what to do next.
It never holds a participant's data: a column's name may stand in it, a row may not.
"""


class FoedusError(Exception):
    """The root: catching it catches every error that foedus raises on purpose."""


class ConfigError(FoedusError):
    """The configuration asks for something that cannot be done."""


class DataError(FoedusError):
    """A participant's files cannot be read or used."""


class ModelError(FoedusError):
    """A checkpoint cannot be loaded, tuned or exported as asked."""


class MissingExtra(FoedusError):  # noqa: N818 - it names what is missing
    """An optional dependency is not installed."""


class ParticipantError(FoedusError):
    """A participant's work in a round cannot be used; the round goes on without it."""


class RoundError(FoedusError):
    """Too few participants reported, round after round."""


class ConsentError(FoedusError):
    """A participant's own file does not allow what a run asks of it; nothing was read or sent."""


class SignatureError(FoedusError):
    """A key, a signature, or a proof of what a log holds cannot be trusted."""


class BudgetError(FoedusError):
    """Privacy would be overspent, or spent where its ledger could not see it; nothing was sent or computed."""


class LedgerError(FoedusError):
    """A privacy ledger cannot be read or written; without it nothing may be spent."""


class RunFolderError(FoedusError):
    """A run folder is missing, in use, damaged, or belongs to another run."""


class SecureSumError(FoedusError):
    """A message or a step of a secure sum breaks its rules; whoever sees it takes no further part in it."""


class MessageError(FoedusError):
    """Bytes that came from another party are no message of a run, or more than is allowed."""


class ForgottenError(MessageError):
    """A participant was started again, and knows nothing of a run or a message until it is told anew."""


class LinkError(FoedusError):
    """The way to the other organisations cannot be set up."""
