"""The stage's laws: nothing depends on shards, what is left repeats no more, and code is code."""

import json
import random
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import pytest

from tasks.common.stage import Machine
from tasks.passages.config import PassagesConfig
from tasks.passages.stage import STAGE
from tests.unit.passages.passage_fixtures import Made, in_order, passages

ALL = {
    "site_lines": {"on": True},
    "paragraphs": {"on": True, "min_chars": 10},
    "spans": {"on": True},
    "substrings": {"on": True, "num_words": 8},
    "near_paragraphs": {"on": True},
}
ONE_UNIT = ("site_lines", "paragraphs")


def sentence(draw: random.Random, num_words: int = 7) -> str:
    return " ".join(f"w{draw.randrange(20_000)}" for _ in range(num_words)).capitalize() + "."


def rows(num_documents: int = 60) -> list[dict]:
    """Pages of three hosts with a header each, quoted lines, and quoted runs of sentences."""
    draw = random.Random(7)
    common = [sentence(draw, 12) for _ in range(20)]
    found = []
    for n in range(num_documents):
        host = f"site{n % 3}.example"
        lines = [f"Home, news, about us, imprint and contact of {host}", ""]
        for _ in range(6):
            lines.append(sentence(draw, 30))
            if draw.random() < 0.3:
                lines.append(draw.choice(common))
            if draw.random() < 0.2:
                start = draw.randrange(15)
                lines.append(sentence(draw) + " " + " ".join(common[start : start + 4]))
        lines += ["", f"Page {n} of the very many pages there are on {host}!"]
        url = f"https://{host}/{n}"
        found.append({"id": f"{n:03}", "url": url, "text": "\n".join(lines)})
    return found


def shards_of(documents: list[dict], num_shards: int) -> list[list[dict]]:
    return [documents[at::num_shards] for at in range(num_shards)]


def answer(made: Made) -> tuple:
    dropped = {name: (row["text"], row["detail"]) for name, row in made.dropped.items()}
    return made.texts, dropped, made.repeated, made.manifest.metrics


def test_nothing_depends_on_shards_their_order_or_workers(tmp_path):
    documents = rows()
    mixed = random.Random(1).sample(documents, len(documents))
    answers = [
        answer(passages(Machine(store=str(tmp_path / name), num_workers=workers), shards, **ALL))
        for name, workers, shards in (
            ("a", 1, [documents]),
            ("b", 1, shards_of(mixed, 5)),
            ("c", 2, [[], *shards_of(documents[::-1], 3)]),
        )
    ]
    assert answers[0] == answers[1] == answers[2]
    assert all(answers[0][3][rule]["characters"] for rule in ALL)


@pytest.mark.parametrize("rule", ALL)
def test_what_is_left_repeats_no_more(rule, machine):
    once = passages(machine, [rows()], **{rule: ALL[rule]})
    assert once.manifest.metrics[rule]["passages"] > 0
    urls = {row["id"]: row["url"] for row in rows()}
    left = [{"id": i, "url": urls[i], "text": text} for i, text in once.texts.items()]
    twice = passages(machine, [left], **{rule: ALL[rule]})
    assert twice.texts == once.texts and not twice.dropped


def test_texts_without_repeats_come_out_byte_for_byte(machine):
    draw = random.Random(3)
    odd = ["\ufeffx \r\n\n\n y\u2003z\x00 ", "  ", "", "\n", "e\u0301\u200dx", "。。。", "---\n---"]
    documents = [{"id": str(n), "text": sentence(draw, 80) + blank} for n, blank in enumerate(odd)]
    documents += [{"id": f"odd {n}", "text": text} for n, text in enumerate(odd)]
    made = passages(machine, [documents], **ALL)
    assert made.texts == {row["id"]: row["text"] for row in documents}


def test_code_is_left_alone_unless_asked_for(machine):
    text = "\n".join(f"    value_{n} = function({n}) + other_{n}" for n in range(40))
    documents = [{"id": str(n), "text": text + f"\nend_{n}()", "kind": "code"} for n in range(4)]
    assert passages(machine, [documents], **ALL).texts == {r["id"]: r["text"] for r in documents}
    made = passages(machine, [documents], **ALL, kinds=["prose", "code"])
    assert len("".join(made.texts.values())) < 1.2 * len(text)


def test_paragraphs_alike_but_for_case_digits_and_signs_stay_once(machine):
    documents = [
        {"id": "a", "text": "First of all.\n\nChapter 1: the sea\n---\nend a"},
        {"id": "b", "text": "first of all!\n\nCHAPTER 2 – The Sea\n---\nend b"},
        {"id": "c", "text": "First, of 1 all\n\nLast of all"},
    ]
    made = passages(machine, [documents], paragraphs={"on": True})
    first, second = in_order(["a", "b"])
    whole = {row["id"]: row["text"] for row in documents}
    assert made.texts == {first: whole[first], second: f"---\nend {second}", "c": whole["c"]}


def test_spans_are_what_a_reader_of_sentences_has_seen(machine):
    draw = random.Random(5)
    documents = {
        str(n): [draw.choice("abcd") + "x." for _ in range(draw.randrange(1, 14))]
        for n in range(60)
    }
    rows = [{"id": name, "text": " ".join(said)} for name, said in documents.items()]
    made = passages(machine, shards_of(rows, 2), spans={"on": True})
    seen: dict[tuple, tuple] = {}
    for name in in_order(list(documents)):
        said = documents[name]
        stays = [True] * len(said)
        for at in range(len(said) - 2):
            where = seen.setdefault(tuple(said[at : at + 3]), (name, at))
            if where[0] != name or where[1] + 3 <= at:
                stays[at : at + 3] = [False] * 3
        expected = " ".join(s for s, stay in zip(said, stays, strict=True) if stay)
        assert made.texts.get(name, "") == expected


def pages(num: int, host: str, header: str, every: int) -> list[dict]:
    draw = random.Random(host)
    return [
        {
            "id": f"{host}{n}",
            "url": f"https://{host}/{n}",
            "text": (header + "\n" if n % every == 0 else "") + sentence(draw, 20),
        }
        for n in range(num)
    ]


def test_lines_of_a_site_go_where_they_are_many_or_a_great_share(machine):
    header = "Welcome to our pages, dear guest, and do come again"
    documents = [
        *pages(40, "often.example", header, 4),  # on ten pages
        *pages(36, "seldom.example", header, 4),  # on nine, a quarter
        *pages(4, "small.example", header, 2),  # on two pages: no site is known by two
        *pages(6, "share.example", header, 2),  # on three of six
    ]
    made = passages(machine, shards_of(documents, 3), site_lines={"on": True})
    num_left = Counter(name.rstrip("0123456789") for name, t in made.texts.items() if header in t)
    assert num_left == {"seldom.example": 9, "small.example": 2}
    shown = [json.loads(line) for line in made.repeated.splitlines()]
    assert shown == [
        {"rule": "site_lines", "within": f"{host}.example", "count": n, "documents": n}
        | {"text": header}
        for host, n in (("often", 10), ("share", 3))
    ]
    kept = passages(machine, [documents], site_lines={"on": True, "keep": "first"})
    assert sum(header in text for text in kept.texts.values()) == 11 + 2


def test_a_line_comes_again_within_its_scope_only(machine):
    line = "The same line in every one of the documents."
    documents = [
        {"id": f"{source}{host}{n}", "source": source, "url": f"https://{host}/{n}", "text": line}
        for source in "ab"
        for host in ("x.example", "y.example")
        for n in range(3)
    ]
    for scope, expected in (("corpus", 1), ("source", 2), ("host", 2)):
        made = passages(machine, [documents], paragraphs={"on": True, "scope": scope})
        assert len(made.texts) == expected


def test_paragraphs_with_slips_of_the_pen_are_found(machine):
    draw = random.Random(9)
    paragraphs = [sentence(draw, 80) for _ in range(12)]
    slipped = [p.replace(p.split()[40], "slip", 1) for p in paragraphs]
    short = sentence(draw, 12)
    documents = [
        {"id": "one", "text": "\n\n".join([*paragraphs, short, sentence(draw, 90)])},
        {"id": "two", "text": "\n\n".join([*slipped, short, sentence(draw, 90)])},
    ]
    made = passages(machine, [documents], near_paragraphs={"on": True, "unit": "paragraph"})
    first, second = in_order(["one", "two"])
    whole = {row["id"]: row["text"] for row in documents}
    assert made.texts == {
        first: whole[first],
        second: "\n\n".join(whole[second].split("\n\n")[-2:]),
    }


def test_a_copy_set_in_other_lines_and_no_paragraphs_is_found(machine):
    draw = random.Random(10)
    said = [sentence(draw, 15) for _ in range(400)]
    words = " ".join(said).split()
    words[::200] = ["slip"] * len(words[::200])
    documents = [
        {"id": "book", "text": "\n\n".join(" ".join(said[n : n + 5]) for n in range(0, 400, 5))},
        {"id": "copy", "text": textwrap.fill(" ".join(words), 70) + f"\n{sentence(draw, 60)}"},
    ]
    made = passages(machine, [documents], near_paragraphs={"on": True})
    first, second = in_order(["book", "copy"])
    whole = {row["id"]: row["text"] for row in documents}
    assert made.texts[first] == whole[first]
    assert len(made.texts.get(second, "")) < 0.2 * len(whole[second])


def test_who_loses_too_much_goes_whole_and_says_why(machine):
    draw = random.Random(11)
    shared = sentence(draw, 100)
    documents = [
        {"id": "first", "text": shared},
        {"id": "little", "text": f"{shared} {sentence(draw, 10)}"},
        {"id": "mostly", "text": f"{shared} {sentence(draw, 60)}"},
        {"id": "some", "text": f"{shared} {sentence(draw, 300)}"},
        {"id": "short", "text": "short but whole"},
    ]
    # Keeping none makes the answer independent of which document comes first.
    settings = {"substrings": {"on": True, "keep": "none"}, "min_left_words": 50}
    made = passages(machine, [documents], **settings, max_cut_share=0.6)
    assert set(made.texts) == {"some", "short"}
    assert {name: row["reason"] for name, row in made.dropped.items()} == {
        "first": "mostly_repeated",
        "little": "mostly_repeated",
        "mostly": "mostly_repeated",
    }
    made = passages(machine, [documents], **settings)
    assert {name: row["reason"] for name, row in made.dropped.items()} == {
        "first": "little_left",
        "little": "little_left",
    }
    row = made.dropped["little"]
    assert row["text"] == documents[1]["text"]
    assert row["detail"] == (
        f"{len(shared)} of {len(row['text'])} characters come again "
        f"(substrings {len(shared)}), 10 words would be left"
    )
    assert made.manifest.funnel.num_in == 5


def test_no_rule_is_a_mistake(machine):
    with pytest.raises(ValueError, match=r"substrings\.on=true"):
        passages(machine, [rows(2)])
    with pytest.raises(ValueError, match="no shards"):
        passages(machine, [], substrings={"on": True})


def test_settings_of_rules_that_are_off_make_no_other_artifact():
    def ref(**settings):
        return STAGE.identify(PassagesConfig(**settings), {"documents": []}).ref()

    on = {"spans": {"on": True}}
    assert ref(**on) == ref(**on, substrings={"num_words": 8})
    assert ref(**on) != ref(spans={"on": True, "num_sentences": 4})
    assert ref(**on) != ref(**on, substrings={"on": True})
    assert ref(**on) != ref(**on, min_left_words=2)


KILLED = """
import sys
from tasks.common.stage import Machine
from tests.unit.passages.passage_fixtures import passages
from tests.unit.passages.test_passages_stage import ALL, rows, shards_of
passages(Machine(store=sys.argv[1], num_workers=1), shards_of(rows(), 6), **ALL)
"""


def test_a_killed_run_goes_on_to_the_same_answer(tmp_path, caplog):
    store = tmp_path / "killed"
    root = Path(__file__).parents[3]
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(store)], cwd=root)
    deadline = time.monotonic() + 60
    while not list(store.glob(".scratch/passages/**/*range-00001*")):
        assert child.poll() is None and time.monotonic() < deadline, "it was not to be caught"
        time.sleep(0.001)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    whole = passages(Machine(store=str(tmp_path / "whole"), num_workers=1), [rows()], **ALL)
    with caplog.at_level("INFO", "bloomery.passages"):
        again = passages(Machine(store=str(store), num_workers=1), shards_of(rows(), 6), **ALL)
    assert answer(again) == answer(whole)
    assert re.search(r"range: \d of \d were done before", caplog.text)
