"""Which rule a message meets and what it says, and what the configuration refuses."""

import pytest
from pydantic import ValidationError

from serving.config.rules import Rule
from serving.config.settings import Settings
from serving.rules import matching, testing


def rule(name: str = "hours", **fields: object) -> Rule:
    given = {"name": name, "version": 1, "patterns": [r"opening hours"], "answer": "9 to 5."}
    return Rule.model_validate(given | fields)


def answer(rules: list[Rule], said: str, task: str = "chat") -> str | None:
    match = matching.first(rules, task, said)
    return None if match is None else matching.fill(match.rule.answer or "", match.slots)


def test_the_first_rule_that_matches_answers_in_any_case() -> None:
    rules = [rule(), rule("again", answer="never")]
    assert answer(rules, "What are your OPENING hours?") == "9 to 5."
    assert answer(rules, "Where is my parcel?") is None


def test_a_slot_is_filled_from_a_named_group_as_plain_text() -> None:
    one = rule(patterns=[r"where is order (?P<number>\S+)"], answer="Order {number} is on its way.")
    assert answer([one], "where is order {number}") == "Order {number} is on its way."
    assert answer([one], "where is order A-1\n") == "Order A-1 is on its way."


def test_a_group_that_took_no_part_leaves_the_question_to_the_model() -> None:
    one = rule(patterns=[r"order(?: (?P<number>\d+))?"], answer="Order {number}.")
    assert answer([one], "my order 17") == "Order 17."
    assert answer([one], "my order") is None


def test_a_rule_answers_only_its_tasks() -> None:
    assert answer([rule(tasks=["suggestion"])], "opening hours") is None
    assert answer([rule(tasks=["suggestion"])], "opening hours", "suggestion") == "9 to 5."


def test_a_long_message_is_no_question_with_a_fixed_answer() -> None:
    assert answer([rule()], "opening hours " * 1000) is None


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"answer": "Order {number}."}, r"no group \(\?P<number>"),
        ({"route": "base"}, "not both"),
        ({"answer": None}, "not both"),
        ({"patterns": ["(a+)+"]}, "repeats"),
        ({"patterns": ["("]}, "no regular expression"),
        ({"patterns": []}, "at least 1"),
        ({"version": 0}, "greater than or equal to 1"),
        ({"webhook": {"url": "https://x.example"}, "answer": None, "route": "base"}, "route"),
        ({"answr": "x"}, "answr"),
    ],
)
def test_a_faulty_rule_is_refused_by_name(fields: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        rule(**fields)


def test_a_route_leads_to_the_base_or_a_version_of_the_line(tmp_path: object) -> None:
    def settings(route: str) -> Settings:
        one = {"name": "r", "version": 1, "patterns": ["x"], "route": route}
        return Settings.model_validate(
            {"model": "m", "store": {"url": "sqlite:///s"}, "lobs": {"care": {"rules": [one]}}}
        )

    assert settings("care@3").lobs["care"].rules[0].route == "care@3"
    assert settings("base").lobs["care"].rules[0].route == "base"
    with pytest.raises(ValidationError, match=r"care\.rules: r routes to 'sales@3'"):
        settings("sales@3")


def test_the_tests_beside_rules_run_against_all_rules_of_the_line() -> None:
    good = {"says": "opening hours?", "answer": "9 to 5."}
    shadowed = {"says": "opening hours on sunday"}
    wrong = {"says": "opening hours?", "answer": "never"}
    silent = {"says": "opening hours?", "matches": False}
    rules = [
        rule(tests=[good, wrong, silent]),
        rule("sunday", patterns=["sunday"], answer="Closed.", tests=[shadowed]),
    ]
    faults = [result.fault for result in testing.run(rules)]
    assert faults == [None, "it answered '9 to 5.'", "hours matched", "hours matched"]


def test_a_test_gives_what_the_webhook_would() -> None:
    test = {"says": "my balance", "slots": {"balance": "3 €"}, "answer": "You have 3 €."}
    one = rule(
        patterns=["balance"],
        answer="You have {balance}.",
        webhook={"url": "https://bank.example/balance"},
        tests=[test, {"says": "my balance"}],
    )
    assert [r.fault for r in testing.run([one])] == [None, "a slot of the answer was not filled"]
