"""What every section of a configuration has in common."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict
from pydantic_core import PydanticUndefined


class Section(BaseModel):
    """A part of the YAML file; unknown keys are errors.

    The docstring below a field is its description: in errors, in the JSON schema and in the docs.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        coerce_numbers_to_str=True,  # a column or a label may be called 2024
        use_attribute_docstrings=True,
    )


# Strict: neither true nor "3" is a number.
Whole = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Share = Annotated[Number, Field(ge=0, lt=1)]
Word = Annotated[str, Field(min_length=1)]


def kinds(default: str | None = None, schema: Any = PydanticUndefined) -> BeforeValidator:
    """Let a bare string stand for a section of this kind, and a section without a kind for the default one.

    schema: what the JSON schema allows; needed where there is one kind only, as the choice is not seen then.

    >>> kinds("adamw").func({"weight_decay": 0})
    {'kind': 'adamw', 'weight_decay': 0}
    """

    def expand(value: Any) -> Any:
        if isinstance(value, str):
            return {"kind": value}
        if default is not None and isinstance(value, Mapping) and "kind" not in value:
            return {"kind": default, **value}
        return value

    return BeforeValidator(expand, json_schema_input_type=schema)


def matching(pattern: str, rule: str) -> AfterValidator:
    """Accept text that matches, and say the rule otherwise."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"is '{text}'; must {rule}")
        return text

    return AfterValidator(check)
