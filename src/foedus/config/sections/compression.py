"""In how many bytes the participants' updates travel."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from foedus.config.sections.section import Number, Section, kinds


class _Compression(Section):
    """What all compressions share."""

    broadcast: Literal["none", "fp16", "int8"] = "none"
    """How the parameters travel to the participants. The coordinator keeps exact ones; what is lost on the way is not
    made up for."""


class Uncompressed(_Compression):
    """Updates travel as they are: four bytes a parameter."""

    kind: Literal["none"] = "none"


class _Lossy(_Compression):
    """What all that lose something share."""

    error_feedback: bool = True
    """Each participant keeps what compression lost of its update, and adds it to the next one. It takes memory of
    the update's size."""


class Fp16(_Lossy):
    """Half precision: two bytes a parameter."""

    kind: Literal["fp16"] = "fp16"


class Int8(_Lossy):
    """8-bit integers with a scale for every 256 of them: about one byte a parameter."""

    kind: Literal["int8"] = "int8"


class Int4(_Lossy):
    """4-bit integers with a scale for every 256 of them: about half a byte a parameter."""

    kind: Literal["int4"] = "int4"


class TopK(_Lossy):
    """Only the largest values of each tensor, with their places: eight bytes for each."""

    kind: Literal["top_k"] = "top_k"
    fraction: Annotated[Number, Field(gt=0, le=1)] = 0.05
    """The share of values that is sent; up to 0.5 that is less than all of them as they are."""


class SparseLoCo(_Lossy):
    """The largest values of every 4096, in 2 bits each with their places: 0.07 bytes a parameter at 3 %. With DiLoCo,
    error feedback stands in for the coordinator's momentum. After Sarfi et al. 2025.
    """

    kind: Literal["sparseloco"] = "sparseloco"
    fraction: Annotated[Number, Field(gt=0, le=1)] = 0.03
    """The share of values that is sent; 0.01 to 0.03 is the paper's."""
    decay: Annotated[Number, Field(gt=0, le=1)] = 0.95
    """The share of what was lost that is kept from round to round."""


Compression = Annotated[
    Uncompressed | Fp16 | Int8 | Int4 | TopK | SparseLoCo,
    Field(discriminator="kind", description="In how many bytes the participants' updates travel."),
    kinds("none"),
]
