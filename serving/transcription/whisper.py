"""A Whisper model that runs in threads of this process, by faster-whisper.

CTranslate2 leaves Python's lock while it computes, so the event loop goes on. Whoever gives up,
or waits too long, ends the work at the next segment.
"""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Any

from serving.config.transcription.sections import Transcription
from serving.errors import ConfigError, DeadlineExceeded, InvalidRequest, NotFound, Overloaded
from serving.transcription.audio import RATE, Pcm, decode


@dataclass(frozen=True)
class Options:
    """What is asked of a transcription.

    Args:
        language: ISO 639-1; None lets the model tell.
        prompt: Words that stand before, to hear names by.
        temperature: 0 takes the likeliest, and hotter ones where that fails.
        words: Whether each word's time is wanted.
    """

    language: str | None = None
    prompt: str | None = None
    temperature: float = 0.0
    words: bool = False


@dataclass(frozen=True)
class Word:
    """A word and when it is said, in seconds.

    Args:
        word: Without spaces at its ends.
        start: When it begins.
        end: When it is over.
        before: What is written before it: a space, or nothing, as in Japanese.
    """

    word: str
    start: float
    end: float
    before: str = " "


@dataclass(frozen=True)
class Segment:
    """A piece of a transcription, as Whisper hears it; times in seconds."""

    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Transcript:
    """A transcription.

    Args:
        language: ISO 639-1.
        seconds: Of the recording.
        segments: Its pieces, in order.
    """

    language: str
    seconds: float
    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        """All that was said."""
        return "".join(one.text for one in self.segments).strip()


class Transcriber:
    """What transcribes recordings; `start` loads the model.

    Args:
        settings: The section; None: nothing does.
    """

    def __init__(self, settings: Transcription | None) -> None:
        self.settings = settings
        at_once = 1 if settings is None else settings.at_once
        self._executor = ThreadPoolExecutor(at_once, thread_name_prefix="transcription")
        self._model: Any = None  # of the library, once it is loaded
        self._running = 0

    async def start(self) -> None:
        """Load the model, where one is configured.

        Raises:
            ConfigError: It, or the library, is not there.
        """
        if self.settings is not None:
            loop = asyncio.get_running_loop()
            self._model = await loop.run_in_executor(self._executor, _load, self.settings)

    async def close(self) -> None:
        """Let go of the threads."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    @property
    def names(self) -> list[str]:
        """The names by which clients ask for it."""
        return [] if self.settings is None else [self.settings.served_name]

    def configured(self) -> Transcription:
        """Return the section; raises NotFound where there is none."""
        if self.settings is None:
            raise NotFound("This server transcribes nothing: `transcription` is not configured.")
        return self.settings

    def check(self, model: str) -> None:
        """Raise NotFound unless a client names the model that there is."""
        name = self.configured().served_name
        if model != name:
            raise NotFound(
                f"The model `{model[:128]}` does not exist; `{name}` transcribes.", param="model"
            )

    def check_language(self, language: str | None) -> None:
        """Raise InvalidRequest where the model, which is loaded, does not know a language."""
        _check_language(language, self._model.supported_languages)

    @property
    def idle(self) -> bool:
        """Whether a recording would be transcribed at once."""
        return self.settings is not None and self._running < self.settings.at_once

    async def transcribe(self, source: IO[bytes] | Pcm, options: Options) -> Transcript:
        """Transcribe a recording.

        Args:
            source: The upload, which is read in a thread, or samples.
            options: What is asked.

        Raises:
            InvalidRequest: It is no recording, or the model does not know the language.
            BodyTooLarge: It is too long.
            Overloaded: Too many wait.
            DeadlineExceeded: It takes too long.
            NotFound: Nothing transcribes.
        """
        its = self.configured()
        if self._running >= its.at_once + its.max_waiting:
            raise Overloaded("Too many recordings wait to be transcribed. Try again.")
        self._running += 1
        given_up = threading.Event()
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._executor, self._work, source, options, given_up)
        work.add_done_callback(self._ended)
        try:
            async with asyncio.timeout(its.timeout_s):
                return await asyncio.shield(work)
        except TimeoutError as exc:
            raise DeadlineExceeded("The recording was not transcribed in time.") from exc
        finally:
            given_up.set()
            if not work.done():  # the thread reads the upload, which must stay until it is through
                await asyncio.wait({work})

    def _ended(self, work: asyncio.Future[Transcript]) -> None:
        self._running -= 1
        if not work.cancelled():
            work.exception()  # whoever gave up does not ask for it

    def _work(
        self, source: IO[bytes] | Pcm, options: Options, given_up: threading.Event
    ) -> Transcript:
        if given_up.is_set():
            raise DeadlineExceeded("The recording waited too long.")
        _check_language(options.language, self._model.supported_languages)
        most_s = self.configured().max_audio_s
        samples = source.samples() if isinstance(source, Pcm) else decode(source, most_s)
        heard, about = self._model.transcribe(
            samples,
            language=options.language,
            initial_prompt=options.prompt,
            word_timestamps=options.words,
            **({"temperature": options.temperature} if options.temperature else {}),
        )
        segments = []
        for one in heard:  # each is computed as it is asked for
            if given_up.is_set():
                raise DeadlineExceeded("The recording was not transcribed in time.")
            segments.append(_segment(one))
        return Transcript(about.language, samples.size / RATE, tuple(segments))


def _segment(one: Any) -> Segment:
    return Segment(
        start=float(one.start),
        end=float(one.end),
        text=one.text,
        tokens=tuple(one.tokens),
        temperature=float(one.temperature or 0.0),
        avg_logprob=float(one.avg_logprob),
        compression_ratio=float(one.compression_ratio),
        no_speech_prob=float(one.no_speech_prob),
        words=tuple(_word(w) for w in one.words or ()),
    )


def _word(one: Any) -> Word:
    bare = one.word.strip()
    before = " " if one.word[:1].isspace() else ""
    return Word(bare, float(one.start), float(one.end), before)


def _check_language(language: str | None, known: list[str]) -> None:
    if language is not None and language not in known:
        raise InvalidRequest(
            f"`language`: the model does not know {language[:16]!r}; it knows "
            f"{', '.join(sorted(known)[:100])}.",
            param="language",
        )


def _load(settings: Transcription) -> Any:
    try:
        import faster_whisper
    except ImportError as exc:
        raise ConfigError(
            "transcription.model needs the extra `transcription`: "
            "pip install 'switchboard[transcription]'.",
            param="transcription.model",
        ) from exc
    try:
        return faster_whisper.WhisperModel(
            str(settings.model),
            device=settings.device,
            compute_type=settings.compute_type,
            cpu_threads=settings.threads,
            num_workers=settings.at_once,
            local_files_only=True,
        )
    except Exception as exc:  # the library raises what it comes by
        raise ConfigError(
            f"transcription.model: {str(settings.model)!r} cannot be loaded: {exc}",
            param="transcription.model",
        ) from exc
