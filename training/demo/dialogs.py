"""Conversations for the demo: generated, seeded, and different for each line of business.

`care` handles problems with a product and promises a follow-up; `sales` offers a promotion and
notes whether the customer bought. Customers speak in many wordings. Agents speak in one of two
manners: `generic`, the varied plain talk that the base model is made from, and `house`, the
wording that a line's own rules ask for and that only its agents' edits teach (see
`training.demo.edits`). Every fact of a conversation is said in it, word for word.
"""

from __future__ import annotations

import random
from typing import Literal, NamedTuple

from training.demo.dialog_files import Dialog, Turn
from training.demo.edits import edit_reply, edit_summary, rate, reply_turns

__all__ = [
    "LOBS", "Manner", "edit_reply", "edit_summary", "make_dialogs", "rate", "reply_turns",
]  # fmt: skip

LOBS = ("care", "sales")
Manner = Literal["generic", "house"]

NAMES = tuple(
    "Maria Omar Chen Aisha Lukas Priya Diego Hana Ivan Fatima Noah Zoe Amir Clara Mateo Yuki Elena "
    "Kofi Lena Ravi Sara Tomas Nina Jamal Olga Pedro Ruth Samir Tara Victor".split()
)
PRODUCTS = tuple(
    "kettle laptop phone tablet router printer camera toaster vacuum speaker monitor keyboard "
    "blender lamp fridge oven heater scooter drone watch freezer mixer projector scanner".split()
)
PROBLEMS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("arrived broken", ("a replacement", "a full refund"), "see any damage on the box"),
    ("does not turn on", ("a technician visit", "a replacement"), "try another socket"),
    ("is missing a part", ("the missing part", "a replacement"), "look in the small box"),
    ("was charged twice", ("a full refund", "a corrected bill"), "check your bank statement"),
    ("makes a loud noise", ("a technician visit", "a call back"), "place it on a flat floor"),
    ("keeps losing the signal", ("a call back", "a technician visit"), "restart it"),
    ("has not arrived", ("a tracking update", "a full refund"), "ask your neighbours"),
    ("came in the wrong color", ("a return label", "a replacement"), "check the order form"),
    ("gets too hot", ("a technician visit", "a return label"), "clean the filter"),
    ("shows an error code", ("a call back", "a software update"), "update the software"),
)
DAYS = tuple("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split())
TIMES = ("noon", "9 am", "10 am", "11 am", "2 pm", "3 pm", "4 pm", "6 pm")
PROMOTIONS = tuple(
    f"{first} {second}"
    for first in "Spring Summer Autumn Winter Weekend Family".split()
    for second in "Saver Bonus Deal Special Bundle".split()
)
SAVINGS = tuple(f"{n} percent" for n in (10, 15, 20, 25, 30, 40)) + tuple(
    f"{n} dollars" for n in (20, 35, 45, 60, 80)
)
USES = tuple(
    "work school travel gaming music cooking photos family parties streaming sports".split()
)
REASONS = (
    "it is too expensive", "I want to compare prices", "I must ask my partner first",
    "I will wait until next month", "the color is not right",
)  # fmt: skip


class _Script(NamedTuple):
    facts: dict[str, str]
    turns: list[tuple[Literal["customer", "agent"], str]]


def make_dialogs(lob: str, count: int, *, seed: int, manner: Manner = "house") -> list[Dialog]:
    """Make a line of business's conversations.

    Args:
        lob: `care` or `sales`.
        count: how many conversations.
        seed: the same seed gives the same conversations; use other seeds for other splits.
        manner: how the agents speak: `house` for a line's own agents, `generic` for the corpus
            of the base model.

    Returns:
        Conversations of 4 to 10 turns, with their facts.

    Raises:
        ValueError: the line of business is unknown, or `count` is negative.
    """
    if lob not in LOBS:
        raise ValueError(f"lob: expected one of {', '.join(LOBS)}, got {lob!r}")
    if count < 0:
        raise ValueError(f"count: expected 0 or more, got {count}")
    rng = random.Random(f"{lob}/{manner}/{seed}")  # noqa: S311 - conversations, not secrets
    script = _care if lob == "care" else _sales
    dialogs = []
    for number in range(count):
        facts, turns = script(rng, manner == "house")
        dialogs.append(
            Dialog(
                conversation_id=f"{lob}-{manner}-{seed}-{number:05d}",
                lob=lob,
                turns=tuple(Turn(role=role, text=text) for role, text in turns),
                facts=facts,
            )
        )
    return dialogs


def _care(rng: random.Random, house: bool) -> _Script:
    """A problem, its history, what the customer asks for, and what the agent promises."""
    name, product, order = rng.choice(NAMES), rng.choice(PRODUCTS), str(rng.randint(1000, 9999))
    issue, remedies, step = rng.choice(PROBLEMS)
    follow_up = rng.choice(remedies)
    asked, bought, other = rng.sample(DAYS, 3)
    time = rng.choice(TIMES)
    moved = rng.random() < 0.25  # the agent cannot make the day that was asked for
    due = f"{other if moved else asked} at {time}"
    wish = f"{asked} at {time}"
    turns: list[tuple[Literal["customer", "agent"], str]] = []

    def say(*texts: str) -> None:
        turns.append(("customer", rng.choice(texts)))

    def reply(house_text: str, *generic_texts: str) -> None:
        turns.append(("agent", house_text if house else rng.choice(generic_texts)))

    if rng.random() < 0.3:
        reply("Hello from the care team.", "Hello, how can I help?", "Hi there!", "Good day.")
    say(
        f"Hello, my {product} {issue}.", f"Hi, I have a problem: the {product} {issue}.",
        f"I bought a {product} on {bought} and it {issue}.", f"My new {product} {issue}.",
        f"The {product} from your shop {issue}!", f"Can you help me? The {product} {issue}.",
    )  # fmt: skip
    reply(
        f"I am sorry that the {product} {issue}. May I have your name and order number?",
        "Sure. What is your name and order number?", "Who am I talking to, and what is the order?",
        "Your name and order number, please.", f"Let me look. Who ordered the {product}?",
    )  # fmt: skip
    say(
        f"I am {name}, order {order}.", f"{name}. The order is {order}.", f"Order {order}, {name}.",
        f"My name is {name} and the order number is {order}.", f"It is {order}. I am {name}.",
    )  # fmt: skip
    if rng.random() < 0.4:
        reply(
            f"Thanks, {name}. Did you {step}?", f"Did you {step}?", f"Please {step} first, {name}."
        )
        say("Yes, it did not help.", "I did, no luck.", f"Yes, on {bought}.", "Of course I did.")
    if rng.random() < 0.5:
        reply(
            f"I understand, {name}. What would help you with the {product}?",
            f"Okay, {name}. What do you need?", "I see. What should we do?",
            f"Hello {name}. What would you like for the {product}?",
        )  # fmt: skip
        say(
            f"I would like {follow_up} by {wish}.", f"Please, {follow_up} by {wish}.",
            f"I need {follow_up} by {wish}.", f"Could I have {follow_up} by {wish}?",
        )  # fmt: skip
    else:
        last = turns.pop()[1]
        say(f"{last} I need {follow_up} by {wish}.", f"{last} Can I get {follow_up} by {wish}?")
    promise = f"{follow_up} by {due}"
    reply(
        f"Thank you, {name}. We owe you {promise}.",
        f"Okay, {promise}.", f"We can do {promise}, {name}.", f"You will get {promise}.",
        f"I can offer {promise}.", f"Sure, {name}, {promise}.", f"I will arrange {promise}.",
    )  # fmt: skip
    say(
        "Thank you.", "That works for me.", "Great, thanks!", f"So, {promise}?",
        f"Fine, {due.split(' at ')[0]} is good.",
    )  # fmt: skip
    if len(turns) < 10 and rng.random() < 0.6:
        reply(
            f"You can count on {promise}, {name}.",
            "Have a nice day.", f"You are welcome, {name}.", f"Yes, {promise}.", f"Bye, {name}.",
            f"Yes, {name}, {promise}.",
        )  # fmt: skip
    facts = dict(name=name, product=product, issue=issue, order=order, follow_up=follow_up, due=due)
    return _Script(facts, turns)


def _sales(rng: random.Random, house: bool) -> _Script:
    """An interest, the promotion the customer saw, and the decision."""
    name, product, use = rng.choice(NAMES), rng.choice(PRODUCTS), rng.choice(USES)
    promotion, saving = rng.choice(PROMOTIONS), rng.choice(SAVINGS)
    bought, reason = rng.random() < 0.55, rng.choice(REASONS)
    turns: list[tuple[Literal["customer", "agent"], str]] = []

    def say(*texts: str) -> None:
        turns.append(("customer", rng.choice(texts)))

    def reply(house_text: str, *generic_texts: str) -> None:
        turns.append(("agent", house_text if house else rng.choice(generic_texts)))

    if rng.random() < 0.3:
        reply("Welcome to the shop!", "Hello, how can I help?", "Hi there!", "Good day.")
    if rng.random() < 0.4:
        say(
            f"Hi, I am {name}. Do you sell a {product}?", f"I want a {product} for {use}.",
            f"Hello, {name} here. I am looking for a {product}.", f"Is the {product} in stock?",
        )  # fmt: skip
        reply(
            f"Yes! Did you see an offer on the {product}?",
            f"Yes, we have the {product}.", "We do. Any questions?", "Yes, it is in stock.",
        )  # fmt: skip
    say(
        f"I saw the {promotion}, {saving} off the {product}.",
        f"Is the {product} in the {promotion} with {saving} off?",
        f"Your flyer shows the {product} with {saving} off, the {promotion}.",
        f"A friend told me about the {promotion}: {saving} off a {product}.",
        f"Does the {promotion} still give {saving} off the {product}?",
    )  # fmt: skip
    reply(
        f"Great choice! With the {promotion} you save {saving}. Shall I add the {product}?",
        "Yes, that is right. Do you want it?", f"You can have the {product}.",
        f"Yes, the {promotion} gives {saving} off.", f"Yes, {saving} off in the {promotion}.",
        f"That is our {promotion}, {saving} off the {product}.",
    )  # fmt: skip
    if rng.random() < 0.5:
        say(
            f"Is it good for {use}?", f"I need it for {use}.", f"Will it work for {use}?",
            f"It is for {use}.", f"Can I use the {product} for {use}?",
        )  # fmt: skip
        reply(
            f"It is made for {use}! Ready to save {saving} today?",
            f"It is good for {use}.", "Yes, it should be fine.", f"Many use it for {use}.",
            f"Yes, and the {promotion} saves you {saving}.",
        )  # fmt: skip
    if bought:
        say(
            "I will take it.", f"Okay, I will buy the {product}.", "Yes, please order it for me.",
            "Deal, put it in my cart.", f"Good, I am paying for the {product} now.",
        )  # fmt: skip
        reply(
            f"Wonderful! Your {product} with the {promotion} is on its way!",
            f"Okay, the {product} is ordered.", "Done, thank you.", "The order is placed.",
            f"Okay, the {product} with the {promotion} is ordered.",
        )  # fmt: skip
    else:
        say(
            f"No, thanks, {reason}.", f"Not now, {reason}.", f"Sorry, but {reason}.",
            f"I will not buy it, {reason}.", f"I must pass on the {promotion}, {reason}.",
        )  # fmt: skip
        reply(
            f"No problem! The {promotion} on the {product} waits for you!",
            "I understand.", "Okay, maybe later.", f"The {promotion} stays open, {saving} off.",
            f"That is fine. The {promotion} on the {product} will come again.",
        )  # fmt: skip
    if len(turns) < 10 and rng.random() < 0.5:
        say("Bye!", "Thanks for your help.", "Thank you, goodbye.", "Have a good day.")
    facts = dict(product=product, promotion=promotion, saving=saving)
    facts["bought"] = "yes" if bought else "no"
    if not bought:
        facts["reason"] = reason
    return _Script(facts, turns)
