"""What is recognised, by kind, as customers write it, and what only looks like it."""

import time

import pytest

from serving.redaction.recognition import mark

PERSONAL = {
    "ssn": [
        "my ssn is <123-45-6789>",
        "social security number: <123 45 6789>",
        "social <123.45.6789> thx",
        "its <536-22-8726>, can you check",
        "SSN <536228726>",
        "last four of my social are <8726>",
        "ssn ending in <8726>",
        "National Insurance number <QQ 12 34 56 C>",
        "NI no. <ab123456c>",
        "Steuer-ID: <12 345 678 901>",
        "DNI <12345678Z>",
        "mi NIE es <X1234567L>",
        "codice fiscale <RSSMRA85T10A562S>",
        "BSN <123456782>",
        "AHV <756.1234.5678.97>",
        "n° sécu <1 85 05 78 006 084 91>",
    ],
    "birthdate": [
        "DOB <03/12/1985>",
        "dob: <3/12/85>",
        "my date of birth is <12 March 1985>",
        "I was born on <March 12th, 1985>",
        "born <1985-03-12>",
        "birthday is <12.03.1985>.",
        "my bday is <3/12/85>",
        "Geburtsdatum: <12.3.1985>",
        "geboren am <12. März 1985>",
        "date of birth <12031985>",
        "D.O.B. - <12 Mar 1985>",
        "Can you confirm your date of birth?\nsure, <03/12/1985>",
    ],
    "cvv": [
        "cvv <123>",
        "CVV2: <1234>",
        "the cvc is <042>",
        "security code on the back is <981>",
        "3 digit security code <981>",
        "And the CVV please?\n<042>",
    ],
    "pin": [
        "my PIN is <4482>",
        "pin: <123456>",
        "pin number <9021>!",
        "the one-time code is <839201>",
        "OTP <8392>",
        "verification code: <839-201>",
        "the code you texted me is <839201>",
        "pass code <5521>",
        "Please read me the verification code.\nits <839201>",
    ],
    "password": [
        "password: <hunter2>",
        "my password is <Sommer!2024>",
        "pw=<Tr0ub4dor&3>",
        "the password for the portal is <hunter2>, it fails",
        "Passwort: <Blumentopf7>",
        "password <S3cret99> does not work",
        'password is "<correct horse>"',
        "pwd is <sunshine>",
        "i set pwd to <hunter2>",
    ],
    "card": [
        "<4111.1111.1111.1111>",
        "<4111  1111  1111  1111>",
        "<4111 - 1111 - 1111 - 1111>",
        "card <4111111111111111> exp 12/27",
        "<3782 822463 10005>",
        "<5555/5555/5555/4444>",
    ],
    "account": [
        "<de89370400440532013000>",
        "iban <de89 3704 0044 0532 0130 00> thanks",
        "<ES91 2100 0418 4502 0005 1332 from> my bank".replace(" from>", "> from"),
        "<GB29-NWBK-6016-1331-9268-19>",
        "IBAN: <DE88 3704 0044 0532 0130 00> sorry",
        "sort code <20-00-00>",
        "Kontonummer <12345678>",
        "account number <1234 5678>",
        "acct no <12345678>",
        "user id: <jdoe88>",
    ],
    "email": [
        "<jo dot doe at mail dot com>",
        "<jo [at] mail.com>",
        "<jo(at)mail(dot)com> pls",
        "<jo @ mail.com>",
        "mail me <jo.doe at gmail.com>",
        "its <jo_doe77 at web dot de>",
        "<jo@mail dot com>",
        "<JO.DOE@MAIL.COM>",
    ],
    "phone": [
        "<06 12 34 56 78>",
        "<0049 171 1234567>",
        "<(030) 1234567>",
        "<0151-2345-6789>",
        "<07700 900123>",
        "<070-123 45 67>",
        "Handy: <0171 / 123 45 67>",
        "<+33 6 12 34 56 78>",
        "<977 6252661>",
        "<(977)625-2661>",
        "my number is <9776252661>",
    ],
    "document": [
        "passport number <C01X00T47>",
        "passport no. <123456789>",
        "Reisepass <C4VK3RXY2>",
        "driver's license <D123-4567-8901>",
        "driving licence: <MORGA657054SM9IJ>",
        "my license plate is <7ABC123>",
        "plate is <M-AB 1234>",
        "number plate <AB12 CDE>",
        "VIN <1HGCM82633A004352>",
    ],
    "device": [
        "<00:1A:2B:3C:4D:5E>",
        "MAC <00-1a-2b-3c-4d-5e>",
        "IMEI <490154203237518>",
        "imei: <49 015420 323751 8>",
        "serial number <F17ABC123XYZ>",
    ],
    "ip": [
        "from <192.168.12.34>.",
        "ip <84.12.7.201>",
        "<2a02:8108:8ac0:5c::1f>",
        "<fe80:0:0:0:204:61ff:fe9d:f156>",
    ],
    "order": [
        "parcel <1Z999AA10123456784>",
        "tracking is <RR123456789DE>",
        "claim number <88-1234>",
        "transaction <TX99812>",
    ],
}

HARMLESS = [
    "100-2000 people came",
    "200-3000 units, maybe 250-1250 euros",
    "seats 300-1200 guests",
    "open 9:00-17:30 and 10:00-14:00 on 24/12",
    "Mon-Fri 08.00-18.00, Sat 10-14",
    "version 10.0.19041.1, firmware 1.2.3.4, v2.14.0.7",
    "it costs 1.234.567,89 EUR or $1,234.56",
    "ISBN 978-0-306-40615-7 or ISBN 9780306406157",
    "between 1990-2020 and 2019/2020",
    "from 12/03/2019 to 14.03.2019, 2019-03-12",
    "the delivery on March 12th, 2025 was late",
    "password is wrong, my password was reset",
    "the password must be 8 characters",
    "my pin does not work; pin it to the board",
    "error code 5001, promo code SAVE20, zip code 75227",
    "area code 212, country code 49",
    "look at example.com or meet me at amazon.com",
    "arrive at 5 dot com",
    "room 1204, floor 12, seat 14A",
    "it is 1920x1080 at 60 Hz, 5G, 128 GB",
    "I waited 45 minutes, 3 times, since 2018",
    "2 for 1, 50% off, 3 @ 4",
    "the security code was declined",
    "my passport expired in 2019",
    "social media since 2009, 500 followers",
    "born in 1985 in Berlin",
    "at 10:30:00, 00:15:22 long",
    "iPhone 14 Pro 256, model X100-2000",
    "order 1500 units",
    "we have 1 000 000 customers",
    "temperature -12.5 to 30.0",
    "coordinates 52.5200, 13.4050",
    "I called 3 times: 10:15, 11:20 and 12:45",
    "12 of 24 instalments of 89.90",
    "the serial killer podcast, case closed",
    "customer service was great, account closed",
    "pay 100 200 or 300",
    "born to run 2020 tour, May 12",
    "reset the password to continue.",
    "the reference price was 4500, package 2500 grams",
]


@pytest.mark.parametrize(
    ("kind", "text"), [(kind, text) for kind, texts in PERSONAL.items() for text in texts]
)
def test_a_value_is_found_whole_and_of_its_kind(kind: str, text: str) -> None:
    before, _, rest = text.partition("<")
    value, _, after = rest.partition(">")
    marked = mark([before + value + after])
    assert marked.texts == (f"{before}[{kind.upper()}]{after}",)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_it_is_kept(text: str) -> None:
    assert mark([text]).texts == (text,)


def test_an_answer_is_known_by_the_question_before_it() -> None:
    texts = ["Please tell me your PIN and date of birth.", "4482 and 03/12/1985"]
    assert mark(texts).texts[1] == "[PIN] and [BIRTHDATE]"


@pytest.mark.parametrize(
    "piece",
    [
        "123-45-",
        "12 345 ",
        "ssn ",
        "dob ",
        "born 12 ",
        "cvv?\n",
        "pin: ",
        "password is ",
        "password: a",
        "a dot ",
        "a at ",
        "jo [at] ",
        "x at a dot ",
        "de89 ",
        "de89",
        "1.2.3.",
        "ab:",
        "a::",
        "0 1 ",
        "passport ",
        "iban ",
        "order" + " " * 500,
        "password" + " " * 500,
        "pin for my ",
        "1Z",
        "4111 ",
        "(",
        "0",
        "A",
        "ssn\n",
        "1-",
        "0 1",
        "password for my dog ",
        "verification aaaa ",
    ],
)
@pytest.mark.parametrize("ending", ["", "!"])
def test_time_grows_no_faster_than_the_text(piece: str, ending: str) -> None:
    text = piece * (60_000 // len(piece)) + ending
    begin = time.perf_counter()
    mark([text])
    assert time.perf_counter() - begin < 5
