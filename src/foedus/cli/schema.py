"""`foedus schema`: the JSON schema of the YAML file, for editors."""

from __future__ import annotations

import json

import typer


def schema() -> None:
    """Print the JSON schema of the YAML file, with which editors check and complete it."""
    from foedus.config.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
