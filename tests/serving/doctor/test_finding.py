from serving.doctor.finding import Finding, State, all_of, worst
from serving.errors import StoreUnavailable


def ill() -> Finding:
    raise ZeroDivisionError("a text that nobody should see")


def down() -> Finding:
    raise StoreUnavailable("The store does not answer.", reason="refused")


def well() -> Finding:
    return Finding("c", State.OK, "well")


def test_one_check_that_fails_stops_no_other() -> None:
    found = all_of([("a", ill), ("b", down), ("c", well)])
    assert [(one.about, one.state) for one in found] == [
        ("a", State.FAULT),
        ("b", State.FAULT),
        ("c", State.OK),
    ]
    assert found[0].said == "the check itself failed: ZeroDivisionError"
    assert found[1].said == "The store does not answer. (refused)"


def test_the_worst_decides() -> None:
    warning = Finding("w", State.WARNING, "w")
    assert worst([]) == State.OK
    assert worst([well(), warning]) == State.WARNING
    assert worst([warning, Finding("f", State.FAULT, "f"), well()]) == State.FAULT
