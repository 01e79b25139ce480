import re

from serving.errors import SwitchboardError, body
from training import errors


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    ours = {
        name: cls
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and cls.__module__ == errors.__name__
    }
    drawn = dict(re.findall(r"[├└]── (\w+) +(\S.*)", errors.__doc__ or ""))
    assert set(ours) == set(drawn) - {"ConfigError"}
    for name, cls in ours.items():
        assert issubclass(cls, SwitchboardError)
        assert cls.__doc__ == drawn[name]


def test_codes_are_distinct_and_map_to_openai_shape() -> None:
    kinds = [errors.RecipeError, errors.TooLittleData, errors.FineTuneFailed]
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert body(errors.TooLittleData("m"))["error"]["code"] == "too_little_data"
