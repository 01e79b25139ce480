"""Personal values that a word names: "order number 4471", "my PIN is 4482", "DOB: 03/12/1985".

A question names the value that the next line answers with: "Your CVV, please?", "042".
"""

import re
from collections.abc import Iterator

from serving.redaction import birth_dates
from serving.redaction.lines import Line, has_digit, lines_with_digits
from serving.redaction.patterns import Kind, Span, digits

_S = r"[^\S\n]{0,3}+"
_MARK = rf"(?P<mark>{_S}(?:number|num\b|no\b\.?|nr\b\.?|id\b|code|#)|(?={_S}[:#]))?"
_LINK = rf"{_S}(?:\b(?:is|was)\b{_S})?[:=#]?{_S}#?{_S}"
_VALUE = r"(?P<value>[A-Z0-9]++(?:-[A-Z0-9]++)*+(?:(?<=\d{3}) \d{3,6}(?!\w))*+)"
_NUMBERED = {
    Kind.ORDER: r"order|purchase|invoice|shipment|tracking|confirmation|reference|ref|ticket|case"
    r"|booking|parcel|package|claim|transaction|reservation|return|rma|bestellnummer"
    r"|auftragsnummer|rechnungsnummer",
    Kind.ACCOUNT: r"account|acct|customer|member|membership|policy|contract|client|routing|user"
    r"|subscription|loyalty|konto(?:nummer|nr)?|kundennummer|vertragsnummer|blz",
}
_NUMBERED_VALUE = {
    kind: re.compile(rf"\b(?:{words})\b{_MARK}{_LINK}{_VALUE}", re.IGNORECASE)
    for kind, words in _NUMBERED.items()
}
_SORT_CODE = re.compile(
    r"\bsort\s{1,3}code\W{0,3}(?:is )?(?P<value>\d\d-?\d\d-?\d\d)(?!\w)", re.IGNORECASE
)
_HASHED = re.compile(rf"(?<![\w&])#\s?{_VALUE}", re.IGNORECASE)
_WORD_FOLLOWS = re.compile(r"[^\S\n]*+\w")
_WRITTEN_DATE = re.compile(r"\d{4}-\d{1,2}(?:-\d{1,2})?|\d{1,2}-\d{1,2}-\d{2,4}")
_PHONE = re.compile(
    r"\b(?:phone|telephone|tel|mobile|cell|fax|whatsapp|handy|my number is)\b[^\d\n\[\]]{0,20}"
    r"(?P<value>(?:\d[ ()./-]{0,3}){6,14}\d)(?!\d)",
    re.IGNORECASE,
)

# Words that may stand between a label and its value; any other ends the search.
_FILLERS = (
    "for|the|my|your|our|on|of|to|from|with|is|are|was|it's|its|it|that|number|code|no|nr|num|account|card"
    "|phone|app|portal|bank|banking|online|website|router|wifi|voicemail|sim|you|i|we|they|sent"
    "|texted|gave|got|received|me|says|said|reads|here|new|old|current|back|sms|text|digits?|ist"
    "|lautet|ending|ends|last|four|am|le|in|and|be|should|plate|id|security|secret|again|yes|sure|ok"
)
_SAID = (
    r"(?:[^\S\n]{1,3}+[^\W\d_]{1,20}+){0,5}?[^\S\n]{0,3}+(?:[:=]|(?:is|was|ist)\b:?)[^\S\n]{0,3}+"
)
_GAP = rf"(?:{_SAID}|[^\w\n]{{0,6}}+(?:(?:{_FILLERS})\b[^\w\n]{{1,4}}+){{0,6}}?)"
_KINDS = {
    Kind.SSN: (
        r"ssn|itin|social(?: security)?|national insurance|ni(?= no| num)|nino|tax(?:payer)? id|tin"
        r"|national id|bsn|pesel|dni|nie|nif|ahv|steuer-?id|steueridentifikationsnummer"
        r"|sozialversicherungsnummer|codice fiscale|s[ée]cu(?:rit[ée] sociale)?",
        r"(?:\d[ .-]?){8,14}\d|\d{4}|[A-Z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-Z]",
    ),
    Kind.CVV: (
        r"cvv2?|cvc2?|cvn|card verification(?: value)?|security code|card security",
        r"\d{3,4}",
    ),
    Kind.PIN: (
        r"pin|pin-?code|pass ?code|otp|one.time (?:code|pin|password|passcode)|tan|2fa"
        r"|(?:veri[a-z]{3,10}|v[a-z]{4,9}ation|authentication|"
        r"confirmation|access|login|sms|security) code"
        r"|code(?= you (?:sent|texted|gave)| i (?:got|received)| we sent| from the (?:sms|text))",
        r"\d{4,8}|\d{3}[ -]\d{3}",
    ),
    Kind.DOCUMENT: (
        r"passport|reisepass|passeport|pasaporte|(?:driver'?s?'?|driving) licen[cs]e|driver id"
        r"|licen[cs]e(?= number| no| plate| nr)|personalausweis|ausweis(?:nummer)?|id card"
        r"|identity card|residence permit|plates?|vin|vehicle identification number|number plate"
        r"|kennzeichen|führerschein",
        r"[A-Z]{1,3}-[A-Z]{1,2} ?\d{2,4}|[A-Z]{2}\d{2} [A-Z]{3}"
        r"|(?=[A-Z-]{0,8}\d)[A-Z0-9]{2,20}(?:[ -](?=[A-Z]{0,3}\d)[A-Z0-9]{2,6}){0,4}",
    ),
    Kind.DEVICE: (
        r"imei2?|mac(?: address)?|serial|s/n|iccid|meid",
        r"(?=[A-Z-]{0,8}\d)[A-Z0-9]{2,20}(?:[ -](?=[A-Z]{0,3}\d)[A-Z0-9]{1,6}){0,4}",
    ),
}
_SPACES = r"(?:[^\S\n]{1,3}+)"
_LABELS = {
    kind: rf"(?<![\w-])(?:{words.replace(' ', _SPACES)})(?![^\W_])"
    for kind, (words, _) in _KINDS.items()
}
_ALONE = r"(?!\w|[.,:/-]\d|[%€$£])"
_LABEL = {kind: re.compile(label, re.IGNORECASE) for kind, label in _LABELS.items()}
_LABELLED = {
    kind: re.compile(rf"{_LABELS[kind]}{_GAP}(?P<value>{value}){_ALONE}", re.IGNORECASE)
    for kind, (_, value) in _KINDS.items()
}
_ANSWERS = {
    kind: re.compile(rf"(?<![\w.,:/$€£-])(?<!\d )(?:{value}){_ALONE}(?! \d)", re.IGNORECASE)
    for kind, (_, value) in _KINDS.items()
}
_BIRTH = re.compile(
    r"(?<!\w)(?:d\.?o\.?b\b\.?|date of birth|birth ?da(?:te|y)|b-?day|born|geboren"
    r"|geburtsdatum|geb\.|n[ée]e? le|date de naissance|fecha de nacimiento"
    r"|data di nascita|geboortedatum)".replace(" ", _SPACES),
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"\?|\b(?:please|pls|provide|confirm|enter|tell|give|need|what|bitte)\b", re.IGNORECASE
)
_PASSWORD = re.compile(
    r"(?<!\w)(?:pass ?words?|passwd|pwd|pw|pass ?phrase|passwort|kennwort"
    r"|mot de passe|contraseña)(?!\w)"
    rf"(?:(?P<link>{_SAID}|{_S},? ?it'?s\b{_S})|{_S}(?:(?:to|as)\b{_S})?)"
    r"(?:[\"'“„`](?P<quoted>[^\"'“”„`\n]{3,40})[\"'”“`]|(?P<value>[^\s\"'“”„`]{4,64}+))",
    re.IGNORECASE,
)
_IN_PASSWORD = ("pass", "pwd", "pw", "kennwort", "contrase")
"""One of these stands in each word for a password: quicker to look for than the words."""
_PROSE = frozenset(
    "accepted again already also always been being blocked broken case changed compromised correct "
    "different easy empty encrypted expired fine forgotten good gone hacked hard hidden important "
    "incorrect invalid just known locked long lost missing must needed never nothing only okay "
    "please protected random rejected required reset right safe same secure sent short should "
    "simple some something still stolen stored strong stuck that their then there this unknown "
    "updated used very weak what when where which working wrong your".split()
)


def by_label(text: str) -> Iterator[Span]:
    """Yield what a word before it names; spans may overlap."""
    folded = text.casefold()
    for line in lines_with_digits(text):
        yield from _in_line(text, line)
        yield from _births(text, line)
    for m in _SORT_CODE.finditer(text) if "sort" in folded else ():
        yield Span(*m.span("value"), Kind.ACCOUNT, labelled=True)
    for m in _HASHED.finditer(text) if "#" in text else ():
        if _is_identifier(m["value"], marked=False) or (m["value"].isdigit() and len(m[0]) > 4):
            yield Span(*m.span("value"), Kind.ORDER)
    if any(sign in folded for sign in _IN_PASSWORD):
        yield from _passwords(text)
    yield from _answers(text)


def _in_line(text: str, line: Line) -> Iterator[Span]:
    """Yield what a word on the same line names; all of it has digits."""
    for m in _PHONE.finditer(text, *line):
        yield Span(*m.span("value"), Kind.PHONE)
    for kind, numbered in _NUMBERED_VALUE.items():
        for m in numbered.finditer(text, *line):
            # "order 4471." names one, "order 1500 units" does not
            ends = _WORD_FOLLOWS.match(text, m.end()) is None
            if _is_identifier(m["value"], marked=ends or m["mark"] is not None):
                yield Span(*m.span("value"), kind, labelled=True)
    for kind, labelled in _LABELLED.items():
        for m in labelled.finditer(text, *line):
            if _long_enough(kind, m["value"]):
                yield Span(*m.span("value"), kind, labelled=True)


def _is_identifier(value: str, *, marked: bool) -> bool:
    """Say whether the word after a label is a number rather than prose, a date or an amount."""
    count = digits(value)
    if _WRITTEN_DATE.fullmatch(value) or count == 0:
        return False
    if marked:
        return len(value) >= 4 and (count >= 3 or len(value) >= 6)
    return len(value) >= 5 and count >= 3


def _long_enough(kind: Kind, value: str) -> bool:
    """Say whether a document's or a device's number is one and not a year or a model's name."""
    if kind not in (Kind.DOCUMENT, Kind.DEVICE):
        return True
    enough = digits(value) >= 3 or (kind is Kind.DOCUMENT and len(value) == 8)
    return len(value) >= 6 and enough and not _WRITTEN_DATE.fullmatch(value)


def _passwords(text: str) -> Iterator[Span]:
    """Yield passwords: what no one takes for a word, or a word that is said to be one."""
    for m in _PASSWORD.finditer(text):
        if m["quoted"]:
            yield Span(*m.span("quoted"), Kind.PASSWORD, labelled=True)
            continue
        value = m["value"].rstrip(".,;:?)]»")
        mixed = not value.isalpha() and any(c.isalpha() for c in value) and digits(value) > 0
        said = m["link"] is not None
        word = value.isalpha() and value.casefold() not in _PROSE and _said(text, m)
        if len(value) >= 4 and (mixed or (said and (word or _odd(value)))):
            start = m.start("value")
            yield Span(start, start + len(value), Kind.PASSWORD, labelled=True)


def _said(text: str, m: re.Match[str]) -> bool:
    """Say whether a plain word after "password is" ends what is said, as prose seldom does."""
    ends = text[m.end() : m.end() + 1] in ("", "\n") or m["value"][-1] in ".,;"
    return ends and not m["value"].rstrip(".,;").endswith(("ed", "ing", "ly"))


def _odd(value: str) -> bool:
    """Say whether a value is no word of prose: signs or capitals within, or only digits."""
    inner = value[1:]
    signs = any(not c.isalnum() and c not in "'\u2019-/." for c in value)
    return signs or value.isdigit() or (inner != inner.lower() and inner != inner.upper())


def _births(text: str, line: Line) -> Iterator[Span]:
    """Yield the dates that follow a word of birth on its line."""
    for m in _BIRTH.finditer(text, *line):
        date = birth_dates.DATE.search(text, m.end(), min(line[1], m.end() + 60))
        if not date or date.start() - m.end() > 30 or digits(text[m.end() : date.start()]):
            continue
        if birth_dates.key_of(date[0]):
            yield Span(date.start(), date.end(), Kind.BIRTHDATE, labelled=True)


def _answers(text: str) -> Iterator[Span]:
    """Yield the values on a line that the line before it asks for."""
    begin, before = 0, ""
    for line in text.split("\n"):
        if before and has_digit(line) and _ASKS.search(asked := before[-200:]):
            for kind, answers in _ANSWERS.items():
                if _LABEL[kind].search(asked):
                    m = answers.search(line)
                    if m and _long_enough(kind, m[0]):
                        yield Span(begin + m.start(), begin + m.end(), kind, labelled=True)
            if _BIRTH.search(asked):
                m = birth_dates.DATE.search(line)
                if m and birth_dates.key_of(m[0]):
                    start, end = begin + m.start(), begin + m.end()
                    yield Span(start, end, Kind.BIRTHDATE, labelled=True)
        before = line or before
        begin += len(line) + 1
