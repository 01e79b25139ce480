from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from training.errors import RecipeError
from training.recipe import recipe as settings

CONFIGS = Path(__file__).parents[3] / "configs" / "training"


def test_every_recipe_in_configs_loads() -> None:
    recipes = {path.stem: settings.load(path) for path in CONFIGS.glob("*.yaml")}
    assert sorted(recipes) == ["care", "default", "example-dpo", "example-kto", "sales"]
    assert recipes["example-dpo"].method == "sft_dpo"
    assert recipes["example-kto"].method == "kto"


def test_every_recipe_says_how_to_launch_it() -> None:
    for path in CONFIGS.glob("*.yaml"):
        assert "switchboard train" in path.read_text().splitlines()[1], path


def test_an_empty_recipe_is_the_default(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("")
    assert settings.load(tmp_path / "r.yaml") == settings.Recipe()


def test_all_faults_are_reported_together_with_key_value_and_fix(tmp_path: Path) -> None:
    path = tmp_path / "care.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "lora": {"rank": 0, "alfa": 3},
                "sft": {"learning_rate": "fast"},
                "gate": {"non_inferiority": [{"metric": "length_deviation"}]},
                "metod": "sft",
            }
        )
    )
    with pytest.raises(RecipeError) as caught:
        settings.load(path)
    message = caught.value.message
    assert message.startswith(f"{path}: 5 faults\n")
    assert "lora.rank: Input should be greater than or equal to 1 (got 0). Fix: Rank; at" in message
    assert "lora.alfa: unknown key (got 3). Fix: remove it, or use one of: rank, alpha" in message
    assert "sft.learning_rate: " in message
    assert "(got 'fast'). Fix: Peak learning rate" in message
    assert "gate.non_inferiority.0.margin: missing. Fix: add it. The whole interval" in message
    assert "metod: unknown key" in message


@pytest.mark.parametrize(
    ("text", "word"), [("a: [", "is not YAML"), ("- 1", "the file: "), ("7", "the file: ")]
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(RecipeError, match=word):
        settings.load(tmp_path / "r.yaml")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        settings.load(tmp_path / "none.yaml")


def test_a_recipe_that_would_hold_everything_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("curation: {min_conversations: 5, min_holdout: 5}")
    with pytest.raises(RecipeError, match="nothing would be left to train on"):
        settings.load(tmp_path / "r.yaml")


def test_dora_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("lora: {variant: dora}")
    with pytest.raises(RecipeError, match=r"lora\.variant: .*vLLM does not serve DoRA"):
        settings.load(tmp_path / "r.yaml")


def test_checkpoints_are_not_saved_by_two_rules(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("{validation: {share: 0.1}, sft: {checkpoint_steps: 5}}")
    with pytest.raises(RecipeError, match=r"sft\.checkpoint_steps \(5\) and validation"):
        settings.load(tmp_path / "r.yaml")


@pytest.mark.parametrize(
    ("method", "stages"), [("kto", ["kto"]), ("dpo", ["dpo"]), ("sft_dpo", ["sft", "dpo"])]
)
def test_a_method_is_one_stage_or_two(method: str, stages: list[str]) -> None:
    recipe = settings.Recipe.model_validate({"method": method})
    assert [name for name, _ in recipe.stages] == stages


def test_a_recipe_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        settings.Recipe().lora.rank = 3  # type: ignore[misc]


def test_a_lob_finds_its_own_recipe_or_the_default(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    with pytest.raises(RecipeError, match=r"neither care\.yaml nor default\.yaml"):
        settings.find("care", tmp_path / "server.yaml")
    for name in ("default", "care"):
        (tmp_path / "training" / f"{name}.yaml").write_text("")
    assert settings.find("care", tmp_path / "server.yaml").stem == "care"
    assert settings.find("other", tmp_path / "server.yaml").stem == "default"


def test_every_key_is_documented() -> None:
    def check(section: type[BaseModel]) -> int:
        count = 0
        for name, field in section.model_fields.items():
            assert field.description, f"{section.__name__}.{name}"
            inner = settings._inner(field.annotation)
            count += 1 + (check(inner) if inner else 0)
        return count

    assert check(settings.Recipe) >= 35
