"""Text that gives the model orders: prompt injection, by deterministic rules.

Each rule has a score, as the probability that a text which it matches is an injection; those of
several rules add up as independent ones do (noisy-or: J. Pearl, "Probabilistic Reasoning in
Intelligent Systems", 4.3.2). One published threshold, `THRESHOLD`, decides. Rules see a text as it
reads (`canonical`), and what is hidden in it by encoding or spelling (`encoded.views`). What they
find and miss is measured in docs/safety.md: they are a fence, not a wall.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from serving.guards.encoded import views
from serving.guards.verdict import Finding, GuardContext

KIND = "injection"
THRESHOLD = 0.5

_ORDERS = (
    r"(?:instructions?|rules?|guidelines?|prompts?|directives?|directions|restrictions?|"
    r"polic(?:y|ies)|safeguards?|(?:system|developer) messages?)"
)
_GAP = r"(?:[^\s.!?]{1,30} ){0,6}?"
_FREE = (
    r"(?:unrestricted|unfiltered|uncensored|jailbroken|(?:no|any|without(?: any)?|free of|zero) "
    r"(?:\w+ )?(?:restrictions?|rules|filters?|limits|limitations|content polic\w+|guidelines|"
    r"safety|censorship|boundaries|constraints))"
)
_SECRETS = (
    r"(?:credentials|api keys?|access tokens|environment variables|admin password|secrets|"
    r"(?:customer|user|client)s? (?:list|database|data|e-?mails|records)|"
    r"(?:private|internal|confidential|raw) (?:\w+ )?(?:data\w*|configuration|keys|pages|files))"
)
_MODEL = r"(?:ai|bot|chatbot|assistant|llm|language model|model|ai (?:\w+ )?(?:agents?|models?))s?"

_RULES: tuple[tuple[str, float, str, str], ...] = (
    (
        "override",
        0.9,
        "ignore,disregard,forget,override,bypass,discard,supersede,follow,obey",
        r"\b(?:ignore|disregard|forget|override|bypass|discard|supersede\w*|(?:do not|don't|never|"
        rf"stop) (?:follow|obey)\w*) {_GAP}(?:(?:all|any|previous|prior|above|earlier|preceding|"
        rf"your|system|initial|original|existing|every|these|those) )+{_GAP}{_ORDERS}\b"
        r"|\b(?:ignore|disregard|forget) (?:\w+ )?(?:everything|all|anything|what) "
        r"(?:\w+ ){0,3}(?:above|before|told|said|know|learned|prior|previous\w*)\b",
    ),
    (
        "override in another language",
        0.9,
        "istruzion,instruccion,instruction,anweisung,regel,reglas,regole,règle,regle,"
        "consigne,vorgabe,indicacion,restric,restriz,einschr,limit,límit",
        r"\b(?:ignora\w*|olvid\w+|dimentic\w+|ignore[zr]?|oublie[zr]?|omet\w+|ignorier\w*|"
        r"vergiss|vergessen|missacht\w+) [^.!?\n]{0,40}\b(?:istruzioni|instrucciones|instructions|"
        r"anweisungen|regeln|reglas|regole|r[èe]gles|consignes|vorgaben|indicaciones)\b"
        r"|\b(?:neue anweisung\w*|nuevas instrucciones|nuove istruzioni|nouvelles (?:instructions|"
        r"consignes)) ?:"
        r"|\b(?:sin|senza|sans|ohne) (?:\w+ )?(?:restricciones|restrizioni|restrictions|"
        r"einschr[äa]nkungen|regeln|limiti|l[íi]mites|limites)\b",
    ),
    (
        "persona",
        0.8,
        "restrict,filter,censor,jailbr,limit,rules,polic,guideline,safety,boundar,"
        "constraint,mode,anything,obey,comply, dan",
        r"\b(?:you(?:'re| are) (?:now|no longer)|from (?:now|this point) on\w*|pretend|imagine|"
        r"act as|respond|behave as|answer as|operate|you (?:now )?(?:have|answer)|enter|enable|"
        rf"switch to)\b[^.!?\n]{{0,80}}?\b{_FREE}"
        r"|\b(?:developer|debug|god|dan|jailbreak|admin|unrestricted|maintenance) mode\b"
        r"|\bdo anything now\b|\byou are (?:now )?dan\b"
        r"|\bfrom now on,? (?:\w+ ){0,4}(?:comply|obey)\b|\b(?:must|will) (?:comply with|obey) "
        r"(?:every|all|any)\b",
    ),
    (
        "new orders",
        0.7,
        "instruction,directive,rule,orders,prompt,task,goal,objective,purpose,role",
        r"\bnew (?:system )?(?:instructions?|directives?|rules?|orders|prompt) ?:"
        r"|\byour (?:new|real|actual|true|only) (?:task|instructions?|directives?|goal|objective|"
        r"purpose|role) (?:is|are|supersede)\w*",
    ),
    (
        "form of a chat",
        0.7,
        "|,[,<,##,--,==,assistant",
        r"< ?\| ?(?:im_start|im_end|system|user|assistant|end\w*|start\w*|eot\w*)\b"
        r"|\[ ?(?:system|inst|/inst)\b[^\]\n]{0,20}\]|<< ?/?sys ?>>|</?(?:system|instructions?)>"
        r"|^(?:#{2,}|-{3,}|={3,}) ?(?:end of|system|begin|new|instruction)\b"
        r"|^\"?assistant ?:",
    ),
    (
        "role",
        0.4,
        "system,developer,sistema,système",
        r"^\W{0,4}(?:system|developer|not[ae] de?i?l? sistema|note syst[èe]me) ?[:\]]",
    ),
    (
        "secrets",
        0.6,
        "credential,key,token,environment,password,secret,list,database,data,mail,record,"
        "configuration,pages,files",
        r"\b(?:send|e-?mail|forward|post|upload|dump|list|output|print|reveal|export|exfiltrate|"
        r"collect|leak|copy|show|expose|share|give|display)\b"
        rf"[^.!?\n]{{0,50}}?\b(?<!my )(?<!our ){_SECRETS}\b",
    ),
    (
        "addresses a model",
        0.5,
        " ai,bot,assistant,llm,model",
        rf"\b(?:notes?|message|instructions?|important|attention|notice) ?(?:to|for) "
        rf"(?:the |all |any )?{_MODEL}\b|\bif you(?:'re| are) an? (?:ai|llm|language model)\b"
        r"|\(for ai \w+",
    ),
    (
        "calls a tool",
        0.4,
        "_",
        r"\b(?:call|use|invoke|run|execute) `?[a-z]{2,20}(?:_[a-z]{2,20})+\b",
    ),
    (
        "sends abroad",
        0.3,
        "@",
        r"\b(?:send|forward|copy|e-?mail)\b[^.!?\n]{0,80}\bto \S{1,64}@\S{1,64}",
    ),
    (
        "marks what is written",
        0.6,
        "summar,repl,respons,answer,review,report,output",
        r"\b(?:append|includ\w+|add|insert|attach|end|begin)\b[^.!?\n]{0,60}\b(?:every|all|any|each|"
        r"your|the end of your) (?:\w+ )?(?:summar(?:y|ies)|repl(?:y|ies)|responses?|answers?|"
        r"reviews?|reports?|outputs?)\b",
    ),
    (
        "encoded orders",
        0.7,
        "decode,decrypt,decipher,base64,rot13,hex,binary",
        r"\b(?:decode|decrypt|decipher|base64|rot13|hex|binary)\b[^!?\n]{0,60}\b(?:do|follow|execute|"
        r"obey|carry out|run|comply)\b",
    ),
    (
        "false permission",
        0.6,
        "safety,security,content,verification,grant",
        r"\b(?:skip|disable|turn off|remove|without) (?:all |any |the |your )?(?:safety|security|"
        r"content|verification) (?:checks?|filters?|controls?|measures?|polic\w+)\b"
        r"|\bgrant (?:all|every|any) (?:requests?|access|permissions?)\b",
    ),
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Args:
        name: What it finds.
        score: As a probability, 0 to 1.
        stems: A text in which none of these stands does not match; to ask for them is quick.
        pattern: For a canonical text in small letters.
    """

    name: str
    score: float
    stems: tuple[str, ...]
    pattern: re.Pattern[str]

    def matches(self, text: str) -> re.Match[str] | None:
        """Return the first match."""
        if not any(stem in text for stem in self.stems):
            return None
        return self.pattern.search(text)


RULES = tuple(
    Rule(name, score, tuple(stems.split(",")), re.compile(pattern, re.MULTILINE))
    for name, score, stems, pattern in _RULES
)


def injection(text: str, _: GuardContext, /) -> Sequence[Finding]:
    """Find orders to the model in a canonical text; one finding, with all rules in its reason."""
    left, span = 1.0, (0, len(text))
    names: list[str] = []
    for view in views(text):
        small = view.lower()
        for rule in RULES:
            hit = rule.matches(small) if rule.name not in names else None
            if hit is None:
                continue
            left *= 1 - rule.score
            if view is text and not names and len(small) == len(text):
                span = hit.span()
            names.append(rule.name)
    score = round(1 - left, 4)
    if score < THRESHOLD:
        return ()
    return (Finding(KIND, score, span, f"It reads like orders to the model: {', '.join(names)}."),)
