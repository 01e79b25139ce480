import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.guards.claims.check import KINDS, check, compare
from serving.guards.claims.evidence import Evidence
from serving.guards.claims.sentences import complete
from serving.guards.verdict import GuardContext

CONTEXT = GuardContext(
    lob="store",
    task="suggestion",
    conversation=(
        ("customer", "I am Crystal Minh, order 3348917502. It cost $94 plus $12 for shipping."),
        ("agent", "I can offer you a replacement by Oct 3 at 5pm, Crystal."),
        (
            "customer",
            "The zipper broke after three days. Please refund me. My mail is c.minh@mail.org",
        ),
        ("customer", "I paid twenty-five dollars more, call (977) 625-2661 tomorrow."),
        ("agent", "Do you have the original receipt?"),
        ("customer", "No, I lost it."),
    ),
    knowledge=(
        "Shoes of Michael Kors can be returned within 30 days. The store is open on Friday.",
    ),
)
WORDS = st.sampled_from(
    "$25 25 dollars Oct 3 10/03 5pm 17:00 at Dana Smith. We will refund you no not order #4471 "
    "a@b.org (977) 625-2661 tomorrow in three days one hundred and five half past six May 12, 2026 "
    "AB-123 24/7 NYC [ORDER_1] is available? unavailable! the 3rd of first".split(" ")
)
TEXTS = st.one_of(st.text(max_size=80), st.lists(WORDS, max_size=20).map(" ".join))


@pytest.mark.parametrize(
    "text",
    [
        "Hi Crystal, thank you for waiting! One moment, please.",
        "You paid 94 dollars and 25 USD.",
        "That is $106 in total.",
        "Your replacement comes on 3 October at 17:00.",
        "It comes on 10/03, by 5 o'clock.",
        "Order #3348917502 was returned within thirty days.",
        "I write to C.Minh@mail.org or call 977-625-2661 tomorrow.",
        "Michael Kors has you covered, Ms. Minh.",
        "We are here 24 hours a day, 7 days a week.",
        "Please give me 2 minutes.",
        "Would you like a refund?",
        "I am sorry, we cannot refund you.",
        "The card ending in 7502? I see.",
        "I will send you a replacement.",
        "The zipper broke after 72 hours.",
        "I can help you with that, 100%.",
        "OK, Sir. Have a Good Day!",
        "",
    ],
)
def test_what_is_given_or_says_nothing_is_not_flagged(text: str) -> None:
    assert check(text, CONTEXT) == []


@pytest.mark.parametrize(
    ("text", "kind", "passage"),
    [
        ("You paid $95.", "amount", "$95"),
        ("You paid 94 euros.", "amount", "94 euros"),
        ("You paid $106.", "amount", "$106"),  # a sum, but nothing says so
        ("You get ninety dollars.", "amount", "ninety dollars"),
        ("It is 15% off.", "number", "15%"),
        ("You bought four pairs.", "number", "four"),
        ("Your replacement comes on Oct 4.", "date", "Oct 4"),
        ("It comes on 11/05.", "date", "11/05"),
        ("It comes on Tuesday.", "date", "Tuesday"),
        ("We call you next week.", "date", "next week"),
        ("It comes at 6 pm.", "time", "6 pm"),
        ("It comes at 4:30.", "time", "4:30"),
        ("You have 60 days.", "time", "60 days"),
        ("It is done within a week.", "time", "a week"),
        ("Your order 3348917503 is here.", "identifier", "3348917503"),
        ("I write to d.minh@mail.org.", "identifier", "d.minh@mail.org"),
        ("Call (977) 625-2662.", "identifier", "(977) 625-2662"),
        ("Your code is SAVE20NOW.", "identifier", "SAVE20NOW"),
        ("The card ending in 1234.", "identifier", "1234"),
        ("Hi Dana, hello.", "name", "Dana"),
        ("I ask Jo Adams, hello.", "name", "Jo Adams"),
        ("I will refund you.", "promise", "I will refund"),
        (
            "We have issued a full credit to your account.",
            "promise",
            "We have issued a full credit",
        ),
        ("We'll give you a call back.", "promise", "We'll give you a call back"),
        ("A refund is on its way.", "promise", "A refund is on"),
        ("Let me compensate you.", "promise", "Let me compensate"),
        ("The store isn't open on Friday.", "negation", "The store isn't open on Friday."),
        ("The customer has the original receipt.", "negation", None),
    ],
)
def test_what_nothing_supports_is_flagged_where_it_stands(
    text: str, kind: str, passage: str | None
) -> None:
    found = check(text, CONTEXT)
    assert [finding.kind for finding in found] == [kind]
    assert passage in (None, text[slice(*found[0].span)])
    assert 0 < found[0].score <= 1
    assert found[0].reason.endswith(".")


def test_a_reason_holds_nothing_of_the_text() -> None:
    (finding,) = check("I ask Zebulon, hello.", CONTEXT)
    assert "Zebulon" not in finding.reason


def test_a_promise_that_the_customer_asked_for_weighs_less_than_one_that_nobody_named() -> None:
    asked, unnamed = check("I will refund you. We will waive the fee.", CONTEXT)
    assert asked.score < unnamed.score


def test_an_agents_offer_and_the_knowledge_support_a_promise_and_a_denied_one_does_not() -> None:
    def kinds(role: str, said: str) -> list[str]:
        context = GuardContext(conversation=((role, said),))
        return [finding.kind for finding in check("I will refund you.", context)]

    assert kinds("agent", "I can refund you.") == []
    assert kinds("knowledge", "Refunds are paid for broken goods.") == []
    assert kinds("customer", "I can refund you.") == ["promise"]
    assert kinds("knowledge", "Refunds are not possible.") == ["promise"]


def test_the_prompt_counts_as_knowledge() -> None:
    context = GuardContext(prompt="Returns are free for 45 days.")
    assert check("You have 45 days.", context) == []


def test_an_answer_to_a_question_affirms_or_denies_it() -> None:
    context = GuardContext(
        conversation=(("agent", "Is your router plugged in?"), ("customer", "Yes, it is."))
    )
    assert check("The router is plugged in.", context) == []
    assert [f.kind for f in check("The router is not plugged in.", context)] == ["negation"]


def test_a_sentence_is_compared_with_others_of_the_same_figures_only() -> None:
    context = GuardContext(
        conversation=(("agent", "Dr. Morgan is not available at 7 pm. At 8 pm?"),)
    )
    assert check("Dr. Morgan is available at 8 pm.", context) == []
    assert [f.kind for f in check("Dr. Morgan is available at 7 pm.", context)] == ["negation"]


@given(TEXTS, TEXTS)
def test_any_text_is_checked_without_an_error_and_spans_lie_within_it(text: str, said: str) -> None:
    context = GuardContext(conversation=(("customer", said),), knowledge=(said,), prompt=said)
    found = check(text, context)
    assert all(0 <= f.span[0] < f.span[1] <= len(text) for f in found)
    assert {f.kind for f in found} <= set(KINDS)
    assert [f.span for f in found] == sorted(f.span for f in found)


@given(TEXTS)
def test_a_text_checked_against_itself_has_nothing(text: str) -> None:
    context = GuardContext(conversation=(("agent", text),))
    assert [f for f in check(text, context) if f.kind not in ("promise", "negation")] == []


@given(TEXTS, TEXTS)
def test_what_is_found_in_whole_sentences_does_not_depend_on_what_follows(
    text: str, more: str
) -> None:
    whole = complete(text)
    evidence = Evidence.of(CONTEXT)
    later = [f for f in compare(text + more, evidence) if f.span[0] < whole]
    assert compare(text[:whole], evidence) == later


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "1",
        "1-",
        "12 ",
        "hundred and ",
        "one thousand ",
        "a.",
        "a@",
        "We will ",
        "Dana ",
        "the zipper broke and ",
        "one moment ",
        "i have been now just ",
        "(977) ",
        "\n",
        "is not, ",
    ],
)
def test_the_time_is_linear(piece: str) -> None:
    def seconds(times: int) -> float:
        text = piece * times
        context = GuardContext(conversation=(("agent", text),))
        began = time.process_time()
        check(text, context)
        return time.process_time() - began

    grown = [min(seconds(n) for _ in range(2)) for n in (150, 1_200)]
    assert all(b < 24 * a + 0.3 for a, b in pairwise(grown))
