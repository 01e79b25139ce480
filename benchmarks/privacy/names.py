"""Turns of a contact center with people's names whose places are known, for `pii.py`.

The turns are ours, from templates, and so is the list of names: these figures say how a pipeline
does on such turns, not how it does on your customers'. Harmless turns hold what recognisers like to
take for people: products, places, companies, months, words that are names, too.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from tests.serving.redaction.corpus import Turn, turns

GIVEN = (
    "James Mary Robert Patricia John Jennifer Michael Linda David Elizabeth William Barbara Thomas "
    "Susan Joseph Jessica Karen Daniel Nancy Matthew Lisa Anthony Betty Mark Sandra Ashley Emily "
    "Grace Will Hope Rose Jack Olivia Noah Maria Jose Juan Carmen Luis Ana Mohammed Fatima Ahmed "
    "Aisha Priya Rahul Anjali Arjun Wei Li Mei Hiroshi Yuki Kim Nguyen Olga Ivan Katarzyna Piotr "
    "Giulia Marco Sofie Lars Ingrid Björn Zoë François Chloé Jürgen Kwame Amara Chidi"
    " Tyrone Siobhan"
).split()
FAMILY = (
    "Smith Johnson Williams Brown Jones Garcia Miller Davis Rodriguez Martinez Hernandez Lopez "
    "Gonzalez Wilson Anderson Taylor Moore Jackson Lee Perez Thompson White Harris Clark Lewis "
    "Young "
    "Walker Hall King Wright Baker Carter Green Price Cook Bell O'Brien McDonald Fitzgerald "
    "Smith-Jones "
    "Patel Singh Khan Sharma Gupta Chen Wang Zhang Tanaka Suzuki Park Tran Kowalski Novak Ivanova "
    "Rossi Müller Schmidt Okafor Mensah Haddad Cohen Andersson Jansen Dubois Silva Costa Yilmaz"
).split()
SLOTS = {"full": ("given", "family"), "given": ("given",), "family": ("family",)}
PERSONAL = (
    "Hi, my name is {full} and my order has not arrived.",
    "This is {full}, I called yesterday",
    "Hello {given}, how can I help you today?",
    "Thanks {given}!",
    "Thank you for waiting, Ms {family}.",
    "Am I speaking with {full}?",
    "May I have your name?\n{full}",
    "the account is in my wife's name, {full}",
    "I spoke to {given} from your billing team last week",
    "{given} here, still no internet",
    "Please change the name on the booking from {full} to {full}",
    "The parcel is for {full}, not for me",
    "Mr. {family} asked me to call about the invoice",
    "Regards,\n{full}",
    "Is {given} available? She promised to call me back.",
    "{full}'s card was charged twice",
    "Dear {given}, your refund is on its way.",
    "my husband {given} signed the contract",
    "Can {given} {family} pick it up instead?",
    "I am {given}. The router is broken again",
)
LOWER = 0.2
"""The share of turns that are written without capitals."""
HARMLESS = (
    "My iPhone will not connect to the Fritz!Box.",
    "Can I fly from Paris to San Francisco in May?",
    "Is Amazon Prime part of the Silver plan?",
    "The Samsung Galaxy I bought in April is broken",
    "Will you call me on Monday morning?",
    "I hope the bill is right this time",
    "Mark it as urgent please",
    "Does the Victoria branch open on Sunday?",
    "I want to cancel Netflix and keep Disney Plus",
    "Sure, one moment please.",
    "Please restart the Router and open Settings, then Wi-Fi",
    "The Premium Plus tariff costs more than the Basic one",
    "Is there a store in Berlin or in Lincoln, Nebraska?",
    "Your Technician will arrive between 8 and 10",
    "I tried Chrome, Safari and Firefox",
    "Where is the Customer Service desk at Terminal 2?",
    "Order confirmed. Thank you for shopping with Target!",
    "Good Morning! How are you doing?",
    "Great, that worked. Bye!",
    "My Visa was declined, but Apple Pay works",
)


def names(seed: int, personal: int, harmless: int) -> list[Turn]:
    """Return turns with names, and turns without: half of them templates here, half the corpus's.

    Args:
        seed: Its own turns for each.
        personal: How many have names.
        harmless: How many have none.
    """
    rng = random.Random(seed)
    found = [_turn(rng, PERSONAL[n % len(PERSONAL)]) for n in range(personal)]
    found += [_turn(rng, HARMLESS[n % len(HARMLESS)]) for n in range(harmless // 2)]
    return found + turns(seed, 0, harmless - harmless // 2)


def split(corpus: Sequence[Turn]) -> tuple[list[Turn], list[Turn]]:
    """Return the turns with names that have capitals, and those without capitals."""
    named = [turn for turn in corpus if turn.spans]
    lower = [turn for turn in named if turn.text == turn.text.lower()]
    return [turn for turn in named if turn.text != turn.text.lower()], lower


def _turn(rng: random.Random, template: str) -> Turn:
    out, spans, length = [], [], 0
    lower = rng.random() < LOWER
    for part in re.split(r"(\{[^}]*\})", template):
        text = part
        if part.startswith("{"):
            lists = {"given": GIVEN, "family": FAMILY}
            text = " ".join(rng.choice(lists[one]) for one in SLOTS[part[1:-1]])
            spans.append((length, length + len(text), "name"))
        out.append(text)
        length += len(text)
    text = "".join(out)
    same = len(text.lower()) == len(text)
    return Turn(text.lower() if lower and same else text, tuple(spans))
