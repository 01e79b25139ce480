import random

import claims
import drill as drill_module
import faults
import pytest
from drill import drill

REPLY = "Great, John, flight '884' on Friday at 5 pm is available for 200 credits and 2 people."
BEFORE = (
    ("customer", "Flight 884 for John on Friday, 2 people?"),
    ("knowledge", "5 pm; Price: 200"),
)
SEEN = " ".join(text for _, text in BEFORE)


@pytest.mark.parametrize("kind", faults.KINDS)
def test_a_fault_stands_where_its_span_says_and_nothing_else_changes(kind: str) -> None:
    for how in ("changed", "inserted"):
        fault = faults.make(random.Random(3), kind, how, REPLY, SEEN)
        if fault is None:
            assert (kind, how) in {("promise", "changed"), ("negation", "inserted")}
            continue
        low, high = fault.span
        assert fault.text != REPLY
        assert fault.text[:low] == (REPLY + " ")[:low]
        if kind != "negation":
            assert fault.text[low:high] not in SEEN


def test_a_reply_without_a_place_has_nothing_changed() -> None:
    assert faults.make(random.Random(1), "amount", "changed", "Hello there.", "") is None


def test_the_measure_counts_faults_and_false_flags() -> None:
    said = [claims.Said(f"d{n}", REPLY, BEFORE) for n in range(3)]
    found = claims.measure([*said, claims.Said("d9", "It is 77.", BEFORE)])
    assert found["false_flags_a_reply"]["rate"] == 0.25
    assert found["false_flags_by_kind"]["number"] == 1
    assert found["recall"]["identifier"]["changed"] == claims.rate(3, 3)
    assert 0.5 < found["balanced_accuracy"]["value"] <= 1


def test_the_drill_counts_every_output_once() -> None:
    found = drill([(REPLY, BEFORE)], 64, 5)
    gateway = found["gateway"]
    for one, other in (("caught", "missed"), ("blocked", "got_through")):
        of = found if one == "caught" else gateway
        assert [of[one][kind] + of[other][kind] for kind in faults.KINDS] == [8] * 8
    assert found["caught"]["amount"] == gateway["blocked"]["amount"] == 8


async def test_the_drill_goes_the_way_of_a_gateway_s_answer() -> None:
    guards, rng = drill_module.guarding(), random.Random(1)
    assert await drill_module.received(guards, REPLY, BEFORE, rng) == REPLY
    text = f"{REPLY} The fee is $77. Goodbye."
    assert await drill_module.received(guards, text, BEFORE, rng) == f"{REPLY} "
