"""The JSON schema of a configuration, for editors that check and complete YAML."""

from __future__ import annotations

from typing import Any

from foedus.config.sections import RunConfig


def json_schema() -> dict[str, Any]:
    """Return the schema of the YAML file, shorthands included."""
    schema: dict[str, Any] = _with_shorthands(RunConfig.model_json_schema(mode="validation"))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "foedus run"}


def _with_shorthands(value: Any) -> Any:
    """Let a kind's name stand for a section of that kind, wherever there is a choice; drop the fields' titles."""
    if isinstance(value, list):
        return [_with_shorthands(item) for item in value]
    if not isinstance(value, dict):
        return value
    inner = {key: _with_shorthands(item) for key, item in value.items() if key != "title"}
    if "discriminator" not in inner:
        return inner
    kinds = list(inner.pop("discriminator")["mapping"])
    # anyOf: a section without a kind fits several of them where the kind has a default
    return {**{k: v for k, v in inner.items() if k != "oneOf"}, "anyOf": [{"enum": kinds}, *inner["oneOf"]]}
