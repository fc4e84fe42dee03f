"""`compression` under `secure_sum`: in how many bits a value of an update is summed."""

from __future__ import annotations

from foedus.config import sections
from foedus.core.errors import ConfigError

WHOLE = 32  # bits of a word that values are summed in without compression

# Of a kind of compression: the levels on one side of 0 that each participant has at least, and bits of the sum.
_INT8, _INT4 = (127, 16), (7, 8)


def summed_bits(config: sections.RunConfig, participants: int) -> int:
    """Return the width of the words that values are summed in.

    Raises: ConfigError if the sum over so many participants does not fit the words that compression asks for.
    """
    match config.compression:
        case sections.Int8():
            levels, bits = _INT8
        case sections.Int4():
            levels, bits = _INT4
        case _:
            return WHOLE
    most = ((1 << (bits - 1)) - 1) // levels
    if participants > most:
        raise ConfigError(
            f"compression: is {config.compression.kind}, whose sums under masks have {bits} bits, in which at most "
            f"{most} participants fit, and there are {participants}; use {'int8 or ' if bits == 8 else ''}none"
        )
    return bits


def keeps_remainders(config: sections.RunConfig) -> bool:
    """Return whether participants keep what the narrow grid of a secure sum took away, and send it later."""
    compression = config.compression
    return (
        not isinstance(config.secure_sum, sections.PlainSum)
        and isinstance(compression, sections.Int8 | sections.Int4)
        and compression.error_feedback
    )
