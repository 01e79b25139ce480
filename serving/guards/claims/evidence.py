"""What a conversation, its knowledge and its prompt give, by what it means."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Self

from serving.guards.claims.claim import Claim, Meaning
from serving.guards.claims.extraction import Sentence, read
from serving.guards.claims.names import bare
from serving.guards.claims.negations import Statements, answered, statements
from serving.guards.claims.promises import named
from serving.guards.verdict import GuardContext

_INITIALS = range(2, 6)
_FEW = 12
"""Of this many amounts two make so many sums that one of them fits by chance."""


class Evidence:
    """What claims are compared with; made once for a conversation, asked for each sentence.

    Only what the customer has not said alone supports a promise.
    """

    def __init__(self) -> None:
        self.statements = Statements()
        self.offered: set[str] = set()
        self.asked_for: set[str] = set()
        self._given: set[Meaning] = set()
        self._words: set[str] = set()
        self._amounts: dict[str, set[Decimal]] = {}

    @classmethod
    def of(cls, context: GuardContext) -> Self:
        """Return what a context gives, in time linear in its length."""
        found = cls()
        question: tuple[str, Sentence] | None = None
        texts = [("system", context.prompt)] if context.prompt else []
        texts += [("knowledge", passage) for passage in context.knowledge]
        for role, said in [*texts, *context.conversation]:
            text, sentences = read(said)
            if question is not None and sentences:
                asked, one = question
                answer = sentences[0].tokens
                found.statements.add(answered(asked, one.start, one.end, one.tokens, answer))
            found._add(text, sentences, by_customer=role in ("customer", "user"))
            question = (text, sentences[-1]) if sentences else None
        return found

    def supports(self, claim: Claim) -> bool:
        """Say whether one of the claim's meanings is given."""
        if claim.kind == "name":
            return all(self._knows(str(meaning[1])) for meaning in claim.meanings)
        if not self._given.isdisjoint(claim.meanings):
            return True
        return any(  # "the 19th" of a month that was named before
            meaning[0] == "day"
            and ("day alone", meaning[2]) in self._given
            and ("month", meaning[1]) in self._given
            for meaning in claim.meanings
        )

    def derives(self, claim: Claim) -> bool:
        """Say whether two given amounts of the claim's currency make it, added or subtracted."""
        for meaning in claim.meanings:
            if meaning[0] == "amount" and isinstance(meaning[2], Decimal):
                known = self._amounts.get(str(meaning[1]), set())
                if len(known) > _FEW:
                    return False
                for one in known:
                    other = meaning[2] - one
                    if (other in known and other != one) or meaning[2] + one in known:
                        return True
        return False

    def _add(self, text: str, sentences: Iterable[Sentence], *, by_customer: bool) -> None:
        for sentence in sentences:
            for claim in sentence.claims:
                self._given |= claim.given or claim.meanings
                for meaning in claim.given:
                    if meaning[0] == "amount" and isinstance(meaning[2], Decimal):
                        self._amounts.setdefault(str(meaning[1]), set()).add(meaning[2])
            self._add_words(sentence)
            said = named(text, sentence.start, sentence.end)
            (self.asked_for if by_customer else self.offered).update(said)
            self.statements.add(statements(text, sentence.start, sentence.end, sentence.tokens))

    def _add_words(self, sentence: Sentence) -> None:
        run: list[str] = []
        for token in sentence.tokens:
            if token.kind not in ("word", "code"):
                run = []
                continue
            word = bare(token.lower)
            self._words.add(word)
            self._words.update(word.split("-"))
            run = [*run, word[0]][-_INITIALS[-1] :] if token.text[0].isupper() else []
            self._words.update("".join(run[-size:]) for size in _INITIALS if size <= len(run))

    def _knows(self, name: str) -> bool:
        """Say whether each word of a name was said, or its initials were."""
        words = name.split()
        if all(word in self._words or self._parts(word) for word in words):
            return True
        return "".join(word[0] for word in words) in self._words and len(words) in _INITIALS

    def _parts(self, word: str) -> bool:
        parts = word.split("-")
        return len(parts) > 1 and all(part in self._words for part in parts)
