"""Others' finders on given texts; run by ``personal_data`` in their Python.

    python -m tests.benchmarks.personal_data_peers presidio|datatrove|names TEXTS.json

Prints one JSON line: CPU seconds, peak memory, for each text its findings as [start, end, type].
Presidio runs its recognisers of patterns; where a model of spaCy is installed, also that of names.
``names`` is our finder of names, which needs spaCy and a model.
"""

import json
import logging
import pkgutil
import resource
import sys
import time
from collections.abc import Callable

Found = list[list[int | str]]


def presidio() -> Callable[[str], Found]:
    """All of Presidio's recognisers for English, as its engine runs them, at its usual score."""
    import spacy
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    logging.disable(logging.WARNING)
    models = spacy_models()

    class Engine(SpacyNlpEngine):
        def __init__(self) -> None:
            super().__init__()
            pipeline = spacy.load(models[0]) if models else spacy.blank("en")
            self.nlp = {"en": pipeline}

        def is_loaded(self) -> bool:
            return True

    registry = RecognizerRegistry()
    registry.load_predefined_recognizers(languages=["en"])
    engine = AnalyzerEngine(nlp_engine=Engine(), registry=registry, supported_languages=["en"])

    def find(text: str) -> Found:
        found = engine.analyze(text=text, language="en", score_threshold=0.4)
        return [[each.start, each.end, each.entity_type] for each in found]

    return find


def datatrove() -> Callable[[str], Found]:
    """The patterns of datatrove's PIIFormatter, e-mail and public IP addresses."""
    from datatrove.pipeline.formatters.pii import PIIFormatter

    formatter = PIIFormatter()
    pairs = (("EMAIL_ADDRESS", formatter.emails_replacer), ("IP_ADDRESS", formatter.ip_replacer))

    def find(text: str) -> Found:
        found: Found = []
        for name, replacer in pairs:
            for match in replacer.regex.finditer(text):
                if not replacer.validator or replacer.validator(match.group(0)):
                    found.append([match.start(), match.end(), name])
        return found

    return find


def names() -> Callable[[str], Found]:
    """Our own names, by the same model."""
    from tasks.filter.personal.config import NameRules
    from tasks.filter.personal.names import name_finder

    find_names = name_finder(NameRules(model=spacy_models()[0]))

    def find(text: str) -> Found:
        return [[start, end, "PERSON"] for start, end in find_names([text])[0]]

    return find


def spacy_models() -> list[str]:
    """Models of spaCy for English that are installed."""
    return [m.name for m in pkgutil.iter_modules() if m.name.startswith("en_core_web")]


if __name__ == "__main__":
    finder = {"presidio": presidio, "datatrove": datatrove, "names": names}[sys.argv[1]]()
    with open(sys.argv[2]) as file:
        texts = json.load(file)
    finder("warm up")
    started = time.process_time()
    findings = [finder(text) for text in texts]
    answer = {"seconds": time.process_time() - started, "findings": findings}
    answer["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(answer))
