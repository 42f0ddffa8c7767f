"""Post-training data: facts are what the code says, and what is held out is never taught."""

import json

import pytest

from tasks.common.records import read_records
from tasks.common.stage import materialise
from tasks.instruct import compose
from tasks.instruct.config import InstructConfig
from tasks.instruct.docstrings import Fact, module_name, read_facts
from tasks.instruct.stage import STAGE
from tests.stages import given

SOURCE = '''
"""A module."""

def join(a, *p):
    """Join two or more pathname components, inserting '/' as needed.

    If any component is absolute, all before it are discarded.
    """

class Shape:
    """Base of all shapes.  It has sides."""

    def area(self):
        """Return the area in square
        metres."""

    def _hidden(self):
        """Not for users."""

def undocumented(): pass
'''


def test_facts_are_names_with_the_first_sentence_and_the_first_paragraphs():
    facts = {fact.name: fact for fact in read_facts(SOURCE, "geo")}
    assert list(facts) == ["geo.join", "geo.Shape", "geo.Shape.area"]
    assert facts["geo.join"].brief == (
        "Join two or more pathname components, inserting '/' as needed."
    )
    assert facts["geo.join"].long.endswith("all before it are discarded.")
    assert facts["geo.Shape"].brief == "Base of all shapes."
    assert facts["geo.Shape.area"].brief == "Return the area in square metres."


@pytest.mark.parametrize("broken", ["def (", "x = '\0'", "print 'python 2'"])
def test_a_file_that_does_not_parse_states_no_facts(broken):
    assert read_facts(broken, "m") == []


@pytest.mark.parametrize(
    ("path", "name"), [("os.py", "os"), ("xml/dom/__init__.py", "xml.dom"), ("a/b.py", "a.b")]
)
def test_modules_are_named_as_they_are_imported(path, name):
    assert module_name(path) == name


def _facts(number):
    return [
        Fact(f"m.f{n}", f"Return the number {n} and no other.", f"Return {n}. Really, {n}. " * 2)
        for n in range(number)
    ]


CONFIG = InstructConfig(num_eval=20)


def test_no_held_out_answer_is_taught():
    doubled = [*_facts(100), *(Fact(f"alias.{f.name}", f.brief, f.long) for f in _facts(100))]
    taught, held_out = compose.split_facts(compose.usable_facts(doubled, CONFIG), CONFIG)
    said = json.dumps(compose.conversations(taught, CONFIG) + compose.open_questions(taught))
    assert len(held_out) == 20
    assert not any(fact.brief in said for fact in held_out)


HELD_OUT = Fact("m.secret", "Return the secret number.", "Return the secret number.")
GIVING_AWAY = [
    Fact("m.secret", "Say another thing of the same name.", ""),
    Fact("m.spelled", "Return the *secret* NUMBER", ""),
    Fact("m.within", "Do a thing.", "Do a thing. As they say: return the `secret` number. Yes."),
]


@pytest.mark.parametrize("fact", GIVING_AWAY, ids=lambda fact: fact.name)
def test_what_gives_a_held_out_fact_away_is_not_taught(fact):
    harmless = Fact("m.harmless", "Return the public number.", "Return the public number. " * 2)
    config = InstructConfig(num_eval=1)
    taught, held_out = compose.split_facts([HELD_OUT, fact, harmless], config)
    assert (taught, held_out) == ([harmless], [HELD_OUT])


def test_a_held_out_answer_without_letters_is_in_no_text():
    facts = [Fact("m.line", "-" * 30, "-" * 30), *_facts(2)]
    taught, _ = compose.split_facts(facts, InstructConfig(num_eval=1))
    assert taught == _facts(2)


def test_a_question_has_one_right_answer_and_its_place_is_drawn_by_lot():
    held_out = _facts(200)
    by_name = {fact.name: fact.brief for fact in held_out}
    questions = compose.multiple_choice(held_out, CONFIG)
    for question in questions:
        assert question["choices"][question["answer"]] == by_name[question["id"]]
        assert len(set(question["choices"])) == CONFIG.num_choices
    places = [question["answer"] for question in questions]
    assert all(places.count(place) > 25 for place in range(4))


def test_too_few_facts_is_said_with_the_remedy():
    with pytest.raises(ValueError, match="lower num_eval"):
        compose.split_facts(_facts(30), CONFIG)


def test_the_same_corpus_gives_the_same_files(machine, tmp_path):
    code = "\n".join(
        f'def f{n}():\n    """Return the number {n} and nothing else."""\n' for n in range(90)
    )
    row = {"text": code, "kind": "code", "source": "lib", "url": "file://lib/pkg/mod.py"}
    documents = given(machine, [[row]])
    made, _ = materialise(STAGE, CONFIG, {"documents": [documents]}, machine)
    elsewhere = machine.model_copy(update={"store": str(tmp_path / "other")})
    given(elsewhere, [[row]])
    again, _ = materialise(STAGE, CONFIG, {"documents": [documents]}, elsewhere)
    assert made.files == again.files
    assert made.metrics["questions"] == 20


def test_the_users_own_files_are_checked_line_by_line(machine, tmp_path):
    path = tmp_path / "sft.jsonl"
    good = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]}
    path.write_text(json.dumps(good) + "\n" + json.dumps({"messages": []}) + "\n")
    config = InstructConfig(origin="files", sft_files=[str(path)], num_eval=1)
    with pytest.raises(ValueError, match=r"sft\.jsonl, line 2"):
        materialise(STAGE, config, {"documents": [given(machine)]}, machine)


def _conversation(number, **extra):
    messages = [
        {"role": "user", "content": f"What is {number}?"},
        {"role": "assistant", "content": f"A number.\u2028It is {number}."},
    ]
    return {"messages": messages, **extra}


def _from_files(machine, path, records, num_eval):
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    path.write_text("\n".join(lines) + "\n")
    config = InstructConfig(origin="files", sft_files=[str(path)], num_eval=num_eval)
    return materialise(STAGE, config, {"documents": [given(machine)]}, machine)[0]


def test_the_users_ids_need_not_be_texts_nor_differ(machine, store, tmp_path):
    records = [_conversation(number, id=7) for number in range(6)]
    made = _from_files(machine, tmp_path / "sft.jsonl", records, num_eval=2)
    artifact = store.open(made.ref)
    names = ["questions.jsonl", "sft-train.jsonl", "sft-validation.jsonl"]
    ids = [record["id"] for name in names for record in read_records(artifact.fetch(name))]
    assert sorted(ids) == [f"sft.jsonl:{line}" for line in range(1, 7)]


def test_an_answer_to_nothing_is_refused(machine, tmp_path):
    alone = {"messages": [{"role": "assistant", "content": "!"}]}
    with pytest.raises(ValueError, match=r"sft\.jsonl, line 3: a message must come before"):
        records = [_conversation(1), _conversation(2), alone]
        _from_files(machine, tmp_path / "sft.jsonl", records, num_eval=1)


def test_nothing_left_to_teach_is_said_with_the_remedy(machine, tmp_path):
    records = [_conversation(number) for number in range(3)]
    with pytest.raises(ValueError, match=r"hold 3 conversations.* lower num_eval"):
        _from_files(machine, tmp_path / "sft.jsonl", records, num_eval=3)
    made = _from_files(machine, tmp_path / "sft.jsonl", records, num_eval=2)
    assert (made.metrics["sft_train"], made.metrics["preferences_train"]) == (1, 0)


def test_moved_files_keep_their_identity_and_changed_files_do_not(tmp_path):
    def identity(folder, text):
        folder.mkdir(exist_ok=True)
        (folder / "sft.jsonl").write_text(text)
        return STAGE.identity(InstructConfig(origin="files", sft_files=[str(folder)]))

    assert identity(tmp_path / "a", "{}") == identity(tmp_path / "b", "{}")
    assert identity(tmp_path / "a", "{}") != identity(tmp_path / "b", "{ }")
