import pytest

from training.recipe.recipe import Lora
from training.trainers.warm_start import differences

CONFIG = {"r": 16, "lora_alpha": 32, "use_rslora": False}


def test_the_same_shape_has_no_differences() -> None:
    assert differences(CONFIG, Lora()) == []
    assert differences({"r": 16, "lora_alpha": 32}, Lora(dropout=0.1)) == []


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ({"r": 8}, "lora.rank is 16, its own 8"),
        ({"lora_alpha": 16}, "lora.alpha is 32, its own 16"),
        ({"use_rslora": True}, "lora.variant is lora, its own rslora"),
    ],
)
def test_whatever_changes_the_update_is_named(config: dict[str, object], fault: str) -> None:
    assert differences({**CONFIG, **config}, Lora()) == [fault]
