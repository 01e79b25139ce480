from pathlib import Path

import pytest

from training.errors import DatasetError
from training.monitoring import grades
from training.monitoring.grades import Grade
from training.recipe.recipe import EvaluationConfig

RULES = EvaluationConfig(resamples=400)


def given(*said: tuple[str, str, float]) -> list[Grade]:
    return [Grade(answer=a, grader=g, grade=n) for a, g, n in said]


def test_grades_are_written_and_read_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / "new" / "grades.jsonl"
    said = given(("a", "ann", 0.5), ("b", "judge:base", 1.0))
    grades.append(file, said[:1])
    grades.append(file, said[1:])
    file.write_text(file.read_text() + "\n")
    assert grades.read(file) == said


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ('{"answer": "a", "grader": "ann", "grade": 2}', "grade: Input should be less"),
        ('{"answer": "a", "grader": "ann"}', "grade: Field required"),
        ('{"answer": "a", "grader": "ann", "grade": 1, "note": "x"}', "note: Extra inputs"),
        ("{", "the line: Invalid JSON"),
    ],
)
def test_a_line_that_is_no_grade_is_refused_by_its_number(
    tmp_path: Path, line: str, word: str
) -> None:
    file = tmp_path / "g.jsonl"
    file.write_text(f'{{"answer": "a", "grader": "ann", "grade": 1}}\n{line}\n')
    with pytest.raises(DatasetError, match=f"line 2: {word}"):
        grades.read(file)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        grades.read(tmp_path / "none.jsonl")


def test_people_s_grades_of_an_answer_are_averaged_and_the_latest_of_each_counts() -> None:
    said = given(
        ("b", "bob", 0.0),
        ("a", "ann", 0.2),
        ("a", "judge:base", 0.9),
        ("a", "bob", 1.0),
        ("a", "ann", 0.6),
    )
    people = grades.merged(said, by_judge=False)
    assert people == {"b": 0.0, "a": pytest.approx(0.8)}
    assert list(people) == ["b", "a"]
    assert grades.merged(said, by_judge=True) == {"a": 0.9}


def test_agreement_is_of_good_and_bad_beyond_chance() -> None:
    one = {str(n): float(n % 2) for n in range(40)}
    other = {**{name: 0.5 + grade / 2 - 0.1 for name, grade in one.items()}, "elsewhere": 1.0}
    conversations = {name: f"c{name}" for name in one}
    found = grades.agreement(("rules", "people"), one, other, conversations, RULES)
    assert found is not None
    assert found.answers == 40
    assert found.share.mean == 1.0
    assert found.share.low > 0.9
    assert found.kappa is not None
    assert found.kappa.mean == pytest.approx(1.0)
    # Where one calls all good, agreement on most of them is chance.
    kind = grades.agreement(("r", "p"), dict.fromkeys(one, 1.0), other, conversations, RULES)
    assert kind is not None
    assert kind.share.mean == 0.5
    assert kind.kappa is not None
    assert kind.kappa.mean == 0.0


def test_kappa_is_cohen_s() -> None:
    """Of 20, 25 and 5 + 10 disagreements in 60: his formula by hand."""
    rated = [(1, 1)] * 20 + [(0, 0)] * 25 + [(1, 0)] * 5 + [(0, 1)] * 10
    one = {str(n): float(a) for n, (a, _) in enumerate(rated)}
    other = {str(n): float(b) for n, (_, b) in enumerate(rated)}
    found = grades.agreement(("a", "b"), one, other, {n: n for n in one}, RULES)
    assert found is not None
    assert found.kappa is not None
    chance = (25 * 30 + 35 * 30) / 60**2
    assert found.kappa.mean == pytest.approx((45 / 60 - chance) / (1 - chance))
    assert found.kappa.low < found.kappa.mean < found.kappa.high


def test_graders_who_share_no_answer_cannot_be_compared() -> None:
    assert grades.agreement(("a", "b"), {"1": 1.0}, {"2": 1.0}, {"1": "c", "2": "c"}, RULES) is None
    alone = grades.agreement(("a", "b"), {"1": 1.0}, {"1": 1.0}, {"1": "c"}, RULES)
    assert alone is not None
    assert alone.kappa is None
