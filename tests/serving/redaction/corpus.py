"""Turns of a contact center with personal values whose places are known, and harmless ones.

Values follow their standards (ISO/IEC 7812 and 13616 check digits, SSA's ranges); turns come from
templates in customers' manner: typos, spacing, lower case, several values, mid-sentence. A slot
that is written `{kind}` holds a value of that kind, `{=name}` something harmless.
"""

import random
import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta


@dataclass(frozen=True)
class Turn:
    """A customer's or agent's text.

    Args:
        text: What was written.
        spans: From, to and kind (lower case) of each personal value; none in a harmless turn.
    """

    text: str
    spans: tuple[tuple[int, int, str], ...]


def turns(seed: int, personal: int = 600, harmless: int = 400) -> list[Turn]:
    """Return turns with values and turns without, each seed its own."""
    rng = random.Random(seed)
    kinds = list(PERSONAL)
    found = [_personal(rng, kinds[n % len(kinds)]) for n in range(personal)]
    return found + [_turn(rng, rng.choice(HARMLESS)) for _ in range(harmless)]


def _personal(rng: random.Random, kind: str) -> Turn:
    parts = [rng.choice(PERSONAL[kind])]
    if rng.random() < 0.3:
        parts.append(rng.choice(PERSONAL[rng.choice(list(PERSONAL))]))
    if rng.random() < 0.3:
        parts.insert(rng.randrange(len(parts) + 1), rng.choice(HARMLESS))
    joint = rng.choice([". ", ", ", "\n", " and ", " - "])
    return _turn(rng, joint.join(parts))


def _turn(rng: random.Random, template: str) -> Turn:
    """Fill a template; only words around values are mistyped, never the values."""
    out, spans, length = [], [], 0
    lower = rng.random() < 0.3
    for part in re.split(r"(\{[^}]*\})", template):
        if part.startswith("{="):
            text = FILLERS[part[2:-1]](rng)
        elif part.startswith("{"):
            text = VALUES[part[1:-1]](rng)
            spans.append((length, length + len(text), part[1:-1]))
        else:
            text = _mistyped(rng, part.lower() if lower else part)
        out.append(text)
        length += len(text)
    return Turn("".join(out), tuple(spans))


_LABELS = re.compile(
    r"ssn|social|insurance|birth|dob|born|cvv|cvc|security|code|pin|otp|pass|pw|imei|mac|serial|vin"
    r"|license|licence|plate|order|account|acct|ticket|claim|parcel|ref|member|tracking|isbn|version"
    r"|firmware|model|iban|geb|number|phone|call|policy|customer",
    re.IGNORECASE,
)


def _mistyped(rng: random.Random, text: str) -> str:
    """Swap two letters of a word, drop one, or space twice; words that name values stay."""
    words = text.split(" ")
    for index, word in enumerate(words):
        if len(word) > 4 and word.isalpha() and not _LABELS.search(word) and rng.random() < 0.08:
            at = rng.randrange(1, len(word) - 2)
            swap = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
            words[index] = rng.choice([swap, word[:at] + word[at + 1 :]])
        elif word and 0 < index < len(words) - 1 and rng.random() < 0.02:
            words[index] = word + " "
    return " ".join(words)


def _digits(rng: random.Random, count: int, first: str = string.digits) -> str:
    return rng.choice(first) + "".join(rng.choices(string.digits, k=count - 1))


def _grouped(number: str, sizes: tuple[int, ...], gap: str) -> str:
    parts, at = [], 0
    for size in sizes:
        parts.append(number[at : at + size])
        at += size
    return gap.join([*parts, number[at:]] if at < len(number) else parts)


def _check_digit(number: str) -> str:
    """ISO/IEC 7812-1, annex B."""
    doubled = [int(d) * (2 - i % 2) for i, d in enumerate(reversed(number))]
    return str(-sum(d // 10 + d % 10 for d in doubled) % 10)


def _card(rng: random.Random) -> str:
    length, prefix = rng.choice(
        [(16, "4"), (16, "51"), (16, "55"), (15, "34"), (15, "37"), (16, "6011")]
    )
    body = prefix + "".join(rng.choices(string.digits, k=length - 1 - len(prefix)))
    sizes = (4, 6, 5) if length == 15 else (4, 4, 4, 4)
    gap = rng.choice(["", "", " ", " ", "-", ".", "  ", " - "])
    return _grouped(body + _check_digit(body), sizes, gap)


_BBANS = {
    "DE": "9" * 18,
    "ES": "9" * 20,
    "GB": "AAAA" + "9" * 14,
    "NL": "AAAA" + "9" * 10,
    "FR": "9" * 23,
    "AT": "9" * 16,
    "IT": "A" + "9" * 22,
    "BE": "9" * 12,
}


def _iban(rng: random.Random) -> str:
    country, form = rng.choice(list(_BBANS.items()))
    body = "".join(rng.choice(string.ascii_uppercase if c == "A" else string.digits) for c in form)
    check = 98 - int("".join(str(int(c, 36)) for c in f"{body}{country}00")) % 97
    compact = f"{country}{check:02}{body}"
    fours = tuple([4] * (len(compact) // 4))
    made = _grouped(compact, fours, rng.choice(["", " ", " ", "-"]))
    return made.lower() if rng.random() < 0.3 else made


def _ssn(rng: random.Random) -> str:
    area = rng.choice([n for n in range(1, 900) if n != 666])
    number = f"{area:03}{rng.randint(1, 99):02}{rng.randint(1, 9999):04}"
    return _grouped(number, (3, 2, 4), rng.choice(["-", "-", " ", "."]))


def _nino(rng: random.Random) -> str:
    pair = rng.choice(["AB", "CE", "JG", "PX", "SN", "WK"])
    gap = rng.choice(["", " "])
    made = gap.join([pair, *(_digits(rng, 2) for _ in range(3)), rng.choice("ABCD")])
    return made.lower() if rng.random() < 0.2 else made


def _birth_date(rng: random.Random) -> str:
    day = date(1940, 1, 1) + timedelta(days=rng.randrange(24000))
    suffix = "th" if 10 < day.day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th")
    return rng.choice(
        [
            f"{day:%m/%d/%Y}",
            f"{day.month}/{day.day}/{day:%y}",
            f"{day:%d.%m.%Y}",
            f"{day:%d-%m-%Y}",
            f"{day:%Y-%m-%d}",
            f"{day.day} {day:%B %Y}",
            f"{day:%B} {day.day}{suffix}, {day.year}",
            f"{day:%b} {day.day} {day.year}",
            f"{day:%B} {day.day}, {day.year}".lower(),
            f"{day:%d/%m/%Y}",
        ]
    )


_WORDS = "sunny river tiger maple rocket puzzle orchid castle pepper falcon".split()


def _password(rng: random.Random) -> str:
    word, other = rng.choice(_WORDS), rng.choice(_WORDS)
    return rng.choice(
        [
            f"{word}{_digits(rng, 2)}",
            f"{word.title()}{other.title()}{_digits(rng, 3)}",
            f"{word.title()}!{_digits(rng, 4)}",
            f"{word}_{other}{rng.randint(1, 9)}",
            f"{word.title()}#{other}@{_digits(rng, 2)}",
            "".join(rng.choices(string.ascii_letters, k=6)) + _digits(rng, 3),
        ]
    )


_FIRST = "jo maria li ahmed sofie peter ines tom anna raj".split()
_LAST = "doe silva wang khan larsen novak rossi smith weber patel".split()


def _email(rng: random.Random) -> str:
    first, last = rng.choice(_FIRST), rng.choice(_LAST)
    local = rng.choice(
        [f"{first}.{last}", f"{first}{last}{rng.randint(1, 99)}", f"{first[0]}_{last}"]
    )
    name, tld = (
        rng.choice(["gmail", "web", "mail", "hotmail", "my-post", "acme"]),
        rng.choice(["com", "de", "org", "co.uk", "net"]),
    )
    made = f"{local}@{name}.{tld}"
    if rng.random() < 0.3:
        tld = rng.choice(["com", "de", "org", "net"])
        dots = local.replace(".", " dot ").replace("_", " underscore ")
        made = rng.choice(
            [
                f"{dots} at {name} dot {tld}",
                f"{local} [at] {name}.{tld}",
                f"{local}(at){name}(dot){tld}",
                f"{local} @ {name}.{tld}",
                f"{local}@{name} dot {tld}",
            ]
        )
    return made.upper() if rng.random() < 0.05 else made


def _phone(rng: random.Random) -> str:
    area, exchange, line = _digits(rng, 3, "23456789"), _digits(rng, 3, "23456789"), _digits(rng, 4)
    pairs = " ".join(_digits(rng, 2) for _ in range(4))
    return rng.choice(
        [
            f"({area}) {exchange}-{line}",
            f"({area}){exchange}-{line}",
            f"{area}-{exchange}-{line}",
            f"{area}.{exchange}.{line}",
            f"{area} {exchange} {line}",
            f"+1 {area} {exchange} {line}",
            f"1-{area}-{exchange}-{line}",
            f"+49 1{_digits(rng, 2)} {_digits(rng, 7)}",
            f"0049 1{_digits(rng, 2)} {_digits(rng, 7)}",
            f"01{_digits(rng, 2)}/{_digits(rng, 7)}",
            f"07{_digits(rng, 3)} {_digits(rng, 6)}",
            f"020 {_digits(rng, 4)} {_digits(rng, 4)}",
            f"0{rng.randint(1, 9)} {pairs}",
            f"+33 {rng.randint(6, 7)} {pairs}",
            f"+34 6{_digits(rng, 2)} {_digits(rng, 3)} {_digits(rng, 3)}",
        ]
    )


def _upper(rng: random.Random, form: str) -> str:
    """Fill a form: A is a letter, 9 a digit, X either; anything else stays."""
    choices = {"A": string.ascii_uppercase, "9": string.digits, "X": "ABCDEFGHJK23456789"}
    return "".join(rng.choice(choices[c]) if c in choices else c for c in form)


def _of(*forms: str) -> Callable[[random.Random], str]:
    return lambda rng: _upper(rng, rng.choice(forms))


def _mac(rng: random.Random) -> str:
    made = rng.choice(":-").join(f"{rng.randrange(256):02x}" for _ in range(6))
    return made.upper() if rng.random() < 0.5 else made


def _imei(rng: random.Random) -> str:
    body = "35" + _digits(rng, 12)
    return body + _check_digit(body)


def _ip(rng: random.Random) -> str:
    if rng.random() < 0.3:
        return "2a02:" + ":".join(f"{rng.randrange(1, 65536):x}" for _ in range(3)) + "::1"
    return ".".join(str(rng.randrange(1, 255)) for _ in range(4))


VALUES: dict[str, Callable[[random.Random], str]] = {
    "email": _email,
    "card": _card,
    "iban": _iban,
    "ssn": _ssn,
    "nino": _nino,
    "birthdate": _birth_date,
    "cvv": _of("999", "999", "9999"),
    "pin": _of("9999", "9999", "999999"),
    "code": _of("999999", "99999999", "999-999"),
    "password": _password,
    "passport": _of("A99999999", "999999999", "AXX99XX99"),
    "licence": _of("A9999999", "A999-9999-9999", "99999999"),
    "plate": _of("9AAA999", "AAA-9999", "AAA9999"),
    "imei": _imei,
    "mac": _mac,
    "ip": _ip,
    "phone": _phone,
    "order": _of("9999999999", "AA999999", "AAA-99999", "999-9999999-9999999", "99999"),
    "account": _of("99999999", "9999999999", "AX99XX99", "9999-9999", "9999 9999"),
}
"""A value of each slot; `KIND` says which slots are of one kind."""

KIND = {"iban": "account", "nino": "ssn", "code": "pin", "passport": "document"} | {
    "licence": "document",
    "plate": "document",
    "imei": "device",
    "mac": "device",
}

PERSONAL: dict[str, list[str]] = {
    "email": [
        "You can reach me at {email}",
        "my email is {email}, nothing arrived yet",
        "please send the invoice to {email}",
        "{email}",
        "I changed it from {email} to {email} last week",
    ],
    "card": [
        "I paid with card {card} yesterday",
        "{card} is the one on file",
        "my visa {card} was charged twice",
        "card number: {card}, exp 09/27, cvv {cvv}",
        "the number is {card}",
    ],
    "iban": [
        "my IBAN is {iban}",
        "refund to {iban} please",
        "IBAN: {iban}",
        "I sent it from {iban} today",
    ],
    "ssn": [
        "my SSN is {ssn}",
        "social security number {ssn}",
        "{ssn}",
        "sure, its {ssn} and I was born on {birthdate}",
        "SSN: {ssn}",
    ],
    "nino": ["my national insurance number is {nino}", "NI number {nino}", "it's {nino}, I think"],
    "birthdate": [
        "my date of birth is {birthdate}",
        "DOB: {birthdate}",
        "I was born on {birthdate}",
        "dob {birthdate}",
        "Can you confirm your date of birth?\nyes, {birthdate}",
        "birthday {birthdate}, name as on the bill",
    ],
    "cvv": [
        "the cvv is {cvv}",
        "CVV: {cvv}",
        "cvc {cvv}",
        "security code on the back: {cvv}",
        "CVV please?\n{cvv}",
    ],
    "pin": [
        "my PIN is {pin}",
        "pin: {pin}",
        "I always used PIN {pin} and now its blocked",
        "the pin for my voicemail is {pin}",
        "What is your PIN?\n{pin}",
    ],
    "code": [
        "the verification code is {code}",
        "OTP: {code}",
        "one-time code {code}",
        "the code you sent me is {code}",
        "Please tell me the verification code\nits {code}",
    ],
    "password": [
        "my password is {password}",
        "password: {password}",
        "I tried password {password} but it fails",
        "the password for the portal is {password}, can you check",
        "pw: {password}",
        "user and password = {password}",
    ],
    "passport": [
        "passport number {passport}",
        "my passport is {passport}",
        "Passport no. {passport}, from Spain",
    ],
    "licence": [
        "driver's license {licence}",
        "my driving licence number is {licence}",
        "driver's license number: {licence}",
    ],
    "plate": ["my license plate is {plate}", "licence plate: {plate}"],
    "imei": ["IMEI {imei}", "the imei of the phone is {imei}"],
    "mac": ["MAC address {mac}", "the router shows {mac} on the sticker", "mac: {mac}"],
    "ip": ["my ip is {ip}", "I connect from {ip} and it times out", "IP address: {ip}"],
    "phone": [
        "call me at {phone}",
        "my number is {phone}",
        "phone: {phone}",
        "{phone} is my cell, or {phone} in the evening",
        "you can text {phone} any time",
    ],
    "order": [
        "my order number is {order}",
        "order #{order} never came",
        "Order ID: {order}",
        "about ticket {order}, any news?",
        "reference number {order}",
    ],
    "account": [
        "account number {account}",
        "my customer number is {account}",
        "acct no {account}",
        "policy number: {account}",
        "membership ID {account}",
    ],
}

HARMLESS = [
    "I ordered {=few} jeans for {=price} on {=date}",
    "about {=range} people were in the queue",
    "you are open {=hours}, right?",
    "it shows version {=version} after the update",
    "the book is ISBN {=isbn}",
    "it was like this from {=years}",
    "I waited {=few} minutes, called {=few} times",
    "the total was {=price}, not {=price}",
    "error code {=number} again",
    "promo code SAVE{=few} does not work",
    "my zip code is {=zip}",
    "the flight is on {=date} at {=time}",
    "my password is wrong again",
    "I forgot my password and my pin",
    "please reset the password, the old one expired",
    "I lost my passport in {=year}",
    "the screen is {=size} and it has {=few} GB",
    "order {=hundreds} units if there is a discount of {=few}%",
    "between {=range} euros would be ok",
    "we are in room {=number}, floor {=few}",
    "look at the offer at example.com",
    "I have been a member since {=year}",
    "my account was closed in {=year}",
    "the case is still open after {=few} days",
    "internet drops at {=time} and {=time} every day",
    "I get {=few} of {=hundreds} Mbit",
    "model X{=few}-{=hundreds} is out of stock",
    "thanks, that helped a lot",
    "can I speak to somebody please?",
    "social media said you are down",
    "the security code field is missing on the page",
    "delivery between {=time} and {=time} on {=date}",
    "I earn {=price} a year, {=price} before tax",
    "there are {=thousands} inhabitants here",
    "warranty until {=date}",
]


def _range(rng: random.Random) -> str:
    low = rng.randrange(100, 900, 50)
    return f"{low}-{rng.randrange(1000, 5000, 250)}"


def _price(rng: random.Random) -> str:
    return rng.choice(
        [
            f"${rng.randrange(1, 2000)}.{rng.randrange(100):02}",
            f"{rng.randrange(1, 99)},{rng.randrange(100):02} EUR",
            f"€{rng.randrange(1, 9)}.{rng.randrange(100, 999)},00",
            f"{rng.randrange(10, 99)},000 dollars",
        ]
    )


def _isbn(rng: random.Random) -> str:
    body = f"978{_digits(rng, 9)}"
    check = -sum(int(d) * (1 + 2 * (i % 2)) for i, d in enumerate(body)) % 10
    return rng.choice([f"{body}{check}", f"978-{body[3]}-{body[4:7]}-{body[7:]}-{check}"])


def _hours(rng: random.Random) -> str:
    low, high = rng.randint(7, 10), rng.randint(16, 20)
    return rng.choice([f"{low}:00-{high}:30", f"{low}-{high}", f"Mon-Fri {low:02}.00-{high}.00"])


def _date(rng: random.Random) -> str:
    day = date(2023, 1, 1) + timedelta(days=rng.randrange(1000))
    forms = [f"{day:%m/%d/%Y}", f"{day:%d.%m.%Y}", f"{day:%Y-%m-%d}", f"{day:%B} {day.day}"]
    return rng.choice(forms)


FILLERS: dict[str, Callable[[random.Random], str]] = {
    "few": lambda rng: str(rng.randint(2, 64)),
    "hundreds": lambda rng: str(rng.randrange(100, 3000, 50)),
    "number": lambda rng: str(rng.randint(100, 5999)),
    "zip": _of("99999"),
    "year": lambda rng: str(rng.randint(1990, 2025)),
    "years": lambda rng: f"{rng.randint(1990, 2010)}-{rng.randint(2011, 2025)}",
    "range": _range,
    "price": _price,
    "isbn": _isbn,
    "hours": _hours,
    "date": _date,
    "time": lambda rng: f"{rng.randint(0, 23)}:{rng.randrange(60):02}",
    "version": lambda rng: (
        f"{rng.randint(1, 20)}.{rng.randint(0, 9)}.{rng.randint(0, 99)}.{rng.randint(0, 9)}"
    ),
    "size": lambda rng: rng.choice(["1920x1080", "3840 x 2160", "15.6 inch"]),
    "thousands": lambda rng: f"{rng.randint(1, 9)} {_digits(rng, 3)} 000",
}
