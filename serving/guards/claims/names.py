"""Names and identifiers: capitalised words inside a sentence, order numbers, addresses, codes."""

from collections.abc import Sequence
from decimal import Decimal

from serving.guards.claims.claim import Claim, Meaning
from serving.guards.claims.quantities import DIGITS
from serving.guards.claims.tokens import Token

# Words that are written with a capital and name nobody.
_NO_NAMES = frozenset(
    """
    i i'm i'll i'd i've ok okay id ids pin asap faq faqs url vip tbd n/a eta etc usa us uk eu am pm
    sir madam ma'am mr mrs ms miss dr dear hi hello hey hiya thanks thank thankyou welcome please
    sorry good great morning afternoon evening night day days bye goodbye yes no not and or but if
    the a an my your our their his her its we you they he she it this that these those there here
    is are was were will would can could may might shall should do does did have has had be been
    for to of in on at by from with as so then than when where what which who whom how why
    customer customers agent agents representative advisor support service services team manager
    supervisor department order orders number account accounts password username email e-mail mail
    phone address name names date time dates times status price cost total refund refunds return
    returns policy shipping delivery payment card credit debit bank cash invoice reservation booking
    confirmation request confirmed available unavailable monday-friday
    let just now once also all any more one two three first second next last new
    sure certainly absolutely alright perfect excellent wonderful fantastic right awesome lovely
    unfortunately however may
    model license licence plate guest guests hotel hotels start end arrival departure amazing party
    venue restaurant room flight ticket class duration distance filter filters poi pois price level
    appointment doctor doctors ride driver weather temperature trip spell spells quiz question
    questions answer answers welcome howdy ma'm enjoy nice pleasure apologies congratulations cheers
    member membership tracking item items product products size color colour code promo log system
    mother mother's maiden assistant assistants ai
    wifi wi-fi internet online website site web app tv pc faq sms pdf gps led usb atm
    ssn dob cvv cvc iban otp
    """.split()
)
_CUES = frozenset(
    """
    order id number no ref reference code pin account ticket case confirmation tracking invoice
    flight zip username policy booking reservation claim extension ext
    """.split()
)
_BETWEEN = frozenset(("is", "no", "number", "id", "code", "was", "nr", "your", "#"))
_SHORTEST_NUMBER, _SHORTEST_CUED, _LAST = 5, 3, 4
_SHOUTED = 0.5
"""From which share of capitalised words on a sentence is a title, or shouted, and names nobody."""


def identifier_at(tokens: Sequence[Token], at: int) -> tuple[Claim, int] | None:
    """Return the identifier that begins at a piece, and the place of the piece after it.

    A run of five figures or more names something, and so do three where "order", "PIN" or the like
    stands before; an amount does not.
    """
    token = tokens[at]
    if token.kind in ("email", "url", "placeholder", "grouped", "code"):
        return _identifier(token), at + 1
    if token.kind != "number" or not token.text.isdecimal():
        return None
    long = len(token.text) >= _SHORTEST_NUMBER
    if at and tokens[at - 1].kind == "sign" and tokens[at - 1].text != "#" and not token.gap:
        return (_identifier(token), at + 1) if len(token.text) > DIGITS else None
    if _ending(tokens, at):
        meanings: frozenset[Meaning] = frozenset({("last", token.text), ("id", token.text)})
        return Claim("identifier", (token.start, token.end), meanings), at + 1
    if long or (len(token.text) >= _SHORTEST_CUED and _cued(tokens, at)):
        return _identifier(token), at + 1
    return None


def _ending(tokens: Sequence[Token], at: int) -> bool:
    before = [t.lower for t in tokens[max(0, at - 3) : at]]
    return len(tokens[at].text) == _LAST and (
        before[-2:] in (["ending", "in"], ["ending", "with"], ["ends", "in"], ["ends", "with"])
    )


def _cued(tokens: Sequence[Token], at: int) -> bool:
    for before in reversed(tokens[max(0, at - 3) : at]):
        if before.lower in _CUES or before.text == "#":
            return True
        if before.lower not in _BETWEEN:
            return False
    return False


def _identifier(token: Token) -> Claim:
    written = token.lower if token.kind in ("email", "url", "placeholder") else ""
    written = written or "".join(c for c in token.lower if c.isalnum())
    if token.kind == "url":
        written = written.split("://")[-1].removeprefix("www.").rstrip("/")
    if token.kind == "grouped" and len(written) == 11 and written[0] == "1":
        written = written[1:]  # the country code of a phone number in North America
    same: frozenset[Meaning] = frozenset({("id", written)})
    given: set[Meaning] = set(same)
    if len(written) > _LAST:
        given.add(("last", written[-_LAST:]))
    if written.isdecimal() and len(written) <= DIGITS:
        given |= {("number", Decimal(written)), ("bare", Decimal(written))}
    return Claim("identifier", (token.start, token.end), same, frozenset(given))


def names(tokens: Sequence[Token], taken: Sequence[bool]) -> list[Claim]:
    """Return the names in a sentence: runs of capitalised words.

    The first word has a capital for another reason, so a name of one word that begins a sentence
    is not seen. A sentence whose words mostly have capitals is a title, and has no names.

    Args:
        tokens: The sentence's pieces.
        taken: Whether each belongs to another claim.
    """
    words = [token for token in tokens if token.kind == "word"]
    capital = [_capital(word) for word in words]
    if len(words) > 3 and sum(capital[1:]) > _SHOUTED * (len(words) - 1):
        return []
    found: list[Claim] = []
    run: list[Token] = []
    for at, token in enumerate(tokens):
        if run and (token.gap not in (" ", "-", " & ") or not _named(token, taken[at])):
            found.append(_name(run))
            run = []
        if at and _named(token, taken[at]) and not _opens(token.gap):
            run.append(token)
    if run:
        found.append(_name(run))
    return found


def _capital(word: Token) -> bool:
    return word.text[0].isupper() and word.lower not in _NO_NAMES


def _named(token: Token, taken: bool) -> bool:
    return token.kind == "word" and not taken and _capital(token) and len(token.text) > 1


def _opens(gap: str) -> bool:
    """Say whether what comes after this gap begins something, and has its capital from there."""
    return any(mark in gap for mark in '.!?:;\n"([*|\u2022>') or gap.strip() == "-"


def _name(run: Sequence[Token]) -> Claim:
    said: frozenset[Meaning] = frozenset({("name", " ".join(bare(t.lower) for t in run))})
    return Claim("name", (run[0].start, run[-1].end), said)


def bare(word: str) -> str:
    """Return a word in small letters without the "'s" of possession."""
    return word.removesuffix("'s").removesuffix("'")
