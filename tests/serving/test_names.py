import pytest

from serving import names
from serving.errors import InvalidRequest


@pytest.mark.parametrize("name", ["care", "c", "care_2-b", "a" * 32])
def test_plain_names_may_name_a_line_of_business(name: str) -> None:
    assert names.valid_lob(name)
    assert names.parse_version(f"{name}@12") == (name, 12)


@pytest.mark.parametrize(
    "version", ["care", "care@", "care@0", "care@01", "care@-1", "care@1\n", "care@1/..", "care@٣"]
)
def test_only_a_positive_number_is_a_version(version: str) -> None:
    with pytest.raises(InvalidRequest, match="write it as care@7"):
        names.parse_version(version)
