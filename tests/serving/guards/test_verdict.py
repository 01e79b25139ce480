"""Verdicts: what is stored of them, and which is the gravest."""

from serving.guards.verdict import Action, Finding, Verdict, worst

FOUND = Finding("number", 0.9, (3, 7), "no turn of the conversation holds this number")


def test_a_verdict_is_stored_with_its_finding() -> None:
    assert Verdict("claims", Action.FLAG, FOUND).as_json() == {
        "guard": "claims",
        "action": "flag",
        "kind": "number",
        "score": 0.9,
        "span": [3, 7],
        "reason": "no turn of the conversation holds this number",
    }


def test_the_gravest_action_is_what_follows() -> None:
    actions = [Action.FLAG, Action.BLOCK, Action.REVIEW]
    assert worst(Verdict("claims", action, FOUND) for action in actions) is Action.BLOCK
    assert worst(Verdict("claims", action, FOUND) for action in actions[::2]) is Action.REVIEW


def test_no_verdict_is_no_action() -> None:
    assert worst([]) is Action.OFF
