"""Personal values that have a form of their own, with check digits where their standard has them.

Every pattern takes time linear in the text, whoever wrote it: a lookbehind pins it to the start of
a token and what may repeat is bounded or possessive.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import AddressValueError, IPv6Address

from serving.redaction import emails
from serving.redaction.lines import Line, lines_with_digits


class Kind(IntEnum):
    """What a value is; where two readings of it disagree, the smaller number wins."""

    EMAIL = 0
    SSN = 1
    """A national number: social security, insurance or tax."""
    BIRTHDATE = 2
    CVV = 3
    PIN = 4
    """Also a one-time code."""
    PASSWORD = 5
    DOCUMENT = 6
    """A passport, a driving licence, a vehicle."""
    DEVICE = 7
    """A MAC address, an IMEI, a serial number."""
    IP = 8
    CARD = 9
    PHONE = 10
    ORDER = 11
    ACCOUNT = 12
    NAME = 13
    """A word of a person's name, where a model looks for them."""


@dataclass(frozen=True)
class Span:
    """Where a value stands in a text.

    Args:
        start: Its first character.
        end: One after its last.
        kind: What it is.
        labelled: A word before it says so.
    """

    start: int
    end: int
    kind: Kind
    labelled: bool = False


_DIGIT_RUN = re.compile(r"(?<![\d.,+])\d(?:(?:[ \u00a0]{0,2}| ?[\u2013-] ?|[./])\d){12,}+(?!\d)")
_PHONES = (
    re.compile(r"(?<![\w+])\+\d{1,3}(?:[ ./-]?\(?\d{1,4}\)?){2,6}(?!\d)"),
    re.compile(
        r"(?<![\w$€£.,-])(?:\+?1[ .-]{0,2})?(?:\(\d{3}\)[ -]{0,2}|\d{3}[ .-]{1,3})\d{3}"
        r"[ .-]{0,3}\d{4}(?![\w-]|[.,]\d)"
    ),
    re.compile(r"(?<![\w$€£.,-])0\d{1,4}[ /-]\d{3,4}[ -]?\d{3,4}(?![\w-])"),
    re.compile(r"(?<![\w$€£.,/:-])\(?0\d{1,4}\)?(?:[ ./-]{1,2}\d{2,8}){1,5}+(?![\w-]|[.,:]\d)"),
    re.compile(r"(?<![\w$€£.,-])00[1-9]\d{0,2}(?:[ ./-]?\(?\d{1,4}\)?){2,6}(?!\d)"),
)
_LOCAL_PHONE = re.compile(r"(?<![\w$€£.,-])(\d{3})-(\d{4})(?![\w-]|[.,]\d)")
_CALLED = re.compile(
    r"\b(?:call|dial|text|reach|ring|phone|fax|at|on|tel|number)\W{0,3}(?:me at )?$", re.I
)
_COUNTED = re.compile(r" ?(?:[€$£%]|[^\W\d_]{3,})")
_WRITTEN_DATE = re.compile(r"\(?\d{1,2}[./ -]\d{1,2}[./ -](?:19|20)\d\d(?!\d)")
_IBAN = re.compile(r"(?<![\w-])[A-Z]{2}\d{2}(?=[ -]?[A-Z0-9]{3})", re.IGNORECASE)
_IBAN_LABEL = re.compile(
    r"\biban\b[^\w\n]{0,3}(?:(?:number|no|is|nr)\b[^\w\n]{0,3}){0,2}$", re.IGNORECASE
)
# ISO 13616, the registry of SWIFT: how long a country's numbers are
_IBAN_LENGTHS = {
    entry[:2]: int(entry[2:])
    for entry in (
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 "
        "EE20 EG29 ES24 FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 "
        "IT27 JO30 KW30 KZ20 LB28 LI21 LT20 LU20 LV21 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 "
        "PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SE24 SI19 SK24 SM27 TN24 TR26 UA29 VG24 XK20"
    ).split()
}
_LONG_NUMBER = re.compile(r"(?<![\w$€£.,-])\d{3,}(?:[ -]\d{3,})*+(?!\w|[.,]\d)")
_PRODUCT = re.compile(
    r"\b(?:isbn|ean|upc|gtin|sku|model|part)(?:-1[03])?(?: (?:number|no))?[ :.#]{0,3}$", re.I
)
_NATIONAL = (
    # US: no area 000 or 666, no group 00, no serial 0000
    re.compile(r"(?<![\w.,/-])(?!000|666)\d{3}([ .-])(?!00)\d{2}\1(?!0000)\d{4}(?![\w-]|[.,]\d)"),
    # UK, HMRC's NIM39110; Italy's codice fiscale; Switzerland's AHV number
    re.compile(r"(?<!\w)[A-CEGHJ-PR-TW-Z]{2}(?: ?\d{2}){3} ?[A-D](?!\w)", re.IGNORECASE),
    re.compile(r"(?<!\w)[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z](?!\w)", re.IGNORECASE),
    re.compile(r"(?<!\w)756[. ]?\d{4}[. ]?\d{4}[. ]?\d{2}(?!\w)"),
)
_SPANISH = re.compile(r"(?<!\w)([XYZ]?)-?(\d{7,8})-?([A-Z])(?!\w)", re.IGNORECASE)
_FRENCH = re.compile(r"(?<!\w)([12] ?\d{2} ?\d{2} ?\d{2} ?\d{3} ?\d{3}) ?(\d{2})(?!\w)")
_IPV4 = re.compile(r"(?<![\w.,-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\w)")
_VERSION = re.compile(
    r"\b(?:version|firmware|release|build|ver|update|software|v)[ :.]{0,3}$", re.IGNORECASE
)
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-F:]{2,39}+(?![\w:])", re.IGNORECASE)
_IN_IPV6 = re.compile(r":[0-9A-F]{0,4}:", re.IGNORECASE)
"""Stands in every address; far quicker to look for, as it begins with a sign."""
_MAC = re.compile(
    r"(?<![\w:-])[0-9A-F]{2}(?:([:-])[0-9A-F]{2})(?:\1[0-9A-F]{2}){4}(?![\w:-])", re.I
)
_IN_MAC = re.compile(r"[:-][0-9A-F]{2}[:-]", re.IGNORECASE)
_TRACKING = re.compile(r"(?<!\w)(?:1Z[0-9A-Z]{16}|[A-Z]{2}\d{9}[A-Z]{2})(?!\w)", re.IGNORECASE)


def by_form(text: str) -> Iterator[Span]:
    """Yield what is recognised by its form; spans may overlap.

    No value goes on in the next line, and all but e-mail and machines' addresses have digits.
    """
    for where in emails.find(text):
        yield Span(*where, Kind.EMAIL)
    yield from _machines(text)
    for line in lines_with_digits(text):
        for m in _DIGIT_RUN.finditer(text, *line):
            yield from _cards(m)
        yield from _phones(text, line)
        yield from _nationals(text, line)
        yield from _ipv4(text, line)
        for m in _TRACKING.finditer(text, *line):
            yield Span(m.start(), m.end(), Kind.ORDER)
        for m in _IBAN.finditer(text, *line):
            yield from _ibans(text, m.start())
        for m in _LONG_NUMBER.finditer(text, *line):
            if digits(m[0]) >= 9 and not _thousands(m[0]) and not _after(_PRODUCT, text, m.start()):
                yield Span(m.start(), m.end(), Kind.ACCOUNT)


def digits(value: str) -> int:
    """Count the digits in a value."""
    return sum(c.isdigit() for c in value)


def _after(label: re.Pattern[str], text: str, start: int) -> bool:
    """Say whether a label ends where a value begins."""
    return label.search(text[max(0, start - 24) : start]) is not None


def _thousands(value: str) -> bool:
    """Say whether a number is an amount grouped in threes, all zeros at the end: 1 000 000."""
    return re.fullmatch(r"\d{1,3}(?: \d{3})* 000", value) is not None


def _cards(run: re.Match[str]) -> Iterator[Span]:
    """Yield card numbers within a run of digits, as when an expiry date follows the number."""
    whole = run[0]  # once: a match copies its text each time
    groups = [m.span() for m in re.finditer(r"\d+", whole)]
    taken = bytearray(len(groups))
    # first what is grouped as on cards, then what may be one by chance
    for first in sorted(range(len(groups)), key=lambda i: groups[i][1] - groups[i][0] in (1, 2, 3)):
        number, match = "", None
        for last in range(first, len(groups)):
            number += whole[slice(*groups[last])]
            if len(number) > 19 or taken[last]:
                break
            if len(number) >= 13 and _issued(number) and luhn(number):
                match = last
        if match is not None:
            taken[first : match + 1] = b"\1" * (match + 1 - first)
            yield Span(run.start() + groups[first][0], run.start() + groups[match][1], Kind.CARD)


def _issued(number: str) -> bool:
    """Say whether a card's issuer gives numbers of this length (ISO/IEC 7812, first digits)."""
    prefix = {13: "4", 14: "3", 15: "3"}.get(len(number), "23456")
    return number[0] in prefix


def luhn(number: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    total = 0
    for index, digit in enumerate(reversed(number)):
        value = int(digit) * (1 + index % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _phones(text: str, line: Line) -> Iterator[Span]:
    for pattern in _PHONES:
        for m in pattern.finditer(text, *line):
            if 7 <= digits(m[0]) <= 15 and not _WRITTEN_DATE.match(m[0]):
                if pattern in _PHONES[3:] and not 9 <= digits(m[0]) <= 15:
                    continue
                yield Span(m.start(), m.end(), Kind.PHONE)
    for m in _LOCAL_PHONE.finditer(text, *line):
        # "200-3000 units" counts, "call 200-3000" does not
        round_numbers = m[1].endswith("0") and m[2].endswith("0")
        if _after(_CALLED, text, m.start()) or not round_numbers:
            yield Span(m.start(), m.end(), Kind.PHONE)


def _nationals(text: str, line: Line) -> Iterator[Span]:
    for pattern in _NATIONAL:
        for m in pattern.finditer(text, *line):
            yield Span(m.start(), m.end(), Kind.SSN)
    for m in _SPANISH.finditer(text, *line):
        number = "XYZ".find(m[1].upper() or "X")
        if (
            len(m[1] + m[2]) == 8
            and m[3].upper() == "TRWAGMYFPDXBNJZSQVHLCKE"[int(f"{number or ''}{m[2]}") % 23]
        ):
            yield Span(m.start(), m.end(), Kind.SSN)
    for m in _FRENCH.finditer(text, *line):
        if 97 - int(m[1].replace(" ", "")) % 97 == int(m[2]):
            yield Span(m.start(), m.end(), Kind.SSN)


def _ipv4(text: str, line: Line) -> Iterator[Span]:
    for m in _IPV4.finditer(text, *line):
        octets = m[0].split(".")
        if all(int(octet) < 256 for octet in octets) and not _after(_VERSION, text, m.start()):
            yield Span(m.start(), m.end(), Kind.IP)


def _machines(text: str) -> Iterator[Span]:
    """Yield addresses of machines that letters alone may make."""
    if _IN_IPV6.search(text):
        for m in _IPV6.finditer(text):
            if m[0].count(":") >= 2 and any(c.isalnum() for c in m[0]):
                try:
                    IPv6Address(m[0])
                except AddressValueError:
                    continue
                yield Span(m.start(), m.end(), Kind.IP)
    if _IN_MAC.search(text):
        for m in _MAC.finditer(text):
            yield Span(m.start(), m.end(), Kind.DEVICE)


def _ibans(text: str, start: int) -> Iterator[Span]:
    """Yield the IBAN that begins here, however it is grouped; a slip in a labelled one is taken."""
    length = _IBAN_LENGTHS.get(text[start : start + 2].upper(), 0)
    compact, end = "", start
    while len(compact) < length and end < len(text):
        c = text[end]
        if c.isascii() and c.isalnum():
            compact += c
        elif c not in " -":
            break
        end += 1
    whole = len(compact) == length > 0 and not text[end : end + 1].isalnum()
    if whole and (_iban(compact) or _after(_IBAN_LABEL, text, start)):
        yield Span(start, end, Kind.ACCOUNT)


def _iban(compact: str) -> bool:
    """ISO 13616: the rearranged number leaves 1 modulo 97."""
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1
