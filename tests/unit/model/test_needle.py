"""Needles: the text is as long as said, the fact where said, and who can look it up is right."""

import random

import pytest
import torch
from torch import nn

from model.chat import BOS, decode, encode_text, special_id
from model.decoder import Decoder
from model.language_model import LanguageModel
from model.needle import (
    NUMBERS,
    Cell,
    Facts,
    as_plain,
    find_needles,
    grid_lines,
    main,
    needle_request,
)

WORDS = Facts(
    sentence=" {name} {value}.",
    question=" {name}",
    values=dict.fromkeys(
        ("ash", "coal", "flux", "iron"), ("bloom", "draw", "ember", "gate", "jet", "kiln")
    ),
)


SEEN = 10  # tokens of the test vocabulary: a name and what comes between it and its value


class LooksUp(LanguageModel):
    """Foretells what followed the last time that the present few tokens stood in the text."""

    def __init__(self, config, reach=None):
        super().__init__()
        self.config, self.reach = config, reach
        self.embed = nn.Embedding(config.vocab_size, config.vocab_size)

    def hidden(self, tokens_BT, cache=None, documents_BT=None):
        guess_BTV = torch.zeros(*tokens_BT.shape, self.config.vocab_size)
        for row, tokens in enumerate(tokens_BT.tolist()):
            for end in range(SEEN, len(tokens) + 1):
                for start in range(end - 1, SEEN - 1, -1):
                    is_far = self.reach is not None and end - start > self.reach
                    if not is_far and tokens[start - SEEN : start] == tokens[end - SEEN : end]:
                        guess_BTV[row, end - 1, tokens[start]] = 1.0
                        break
        return guess_BTV

    @property
    def head_weight(self):
        return torch.eye(self.config.vocab_size)


@pytest.fixture
def haystack(tokenizer):
    return encode_text(tokenizer, "hidden in plain text are many things and more of them " * 40)


@pytest.mark.parametrize("facts", [NUMBERS, WORDS])
@pytest.mark.parametrize("length", [150, 257])
@pytest.mark.parametrize("depth", [0.0, 0.5, 1.0])
def test_a_text_has_its_length_and_the_fact_stands_at_its_depth(
    tokenizer, haystack, facts, length, depth
):
    rng = random.Random(3)
    context, answer = needle_request(tokenizer, haystack, length, depth, facts, 2, rng)
    assert len(context) + len(answer) == length
    assert context[0] == special_id(tokenizer, BOS)
    text, value = decode(tokenizer, context[1:]), decode(tokenizer, answer).strip()
    name = next(n for n in facts.values if text.endswith(facts.question.format(name=n)))
    fact = facts.sentence.format(name=name, value=value)
    assert text.count(fact) == 1
    # The other facts move it by at most their own length.
    asked = facts.question.format(name=name)
    place = text.index(fact) / (len(text) - len(fact) - len(asked))
    others = 3 * len(fact) / len(text)
    assert place == pytest.approx(depth, abs=others)
    if depth in (0.0, 1.0):
        assert place == depth


def test_who_looks_it_up_finds_it_and_who_sees_near_only_finds_the_near(
    tokenizer, tiny, replace, haystack
):
    config = replace(tiny, max_seq_len=300)
    lengths, depths = [120, 300], [0.0, 1.0]
    ask = {"num_asked": 4, "num_others": 1}
    cells = find_needles(LooksUp(config), tokenizer, haystack, lengths, depths, NUMBERS, **ask)
    assert [(c.length, c.depth) for c in cells] == [(n, d) for n in lengths for d in depths]
    assert all(cell.accuracy == 1.0 for cell in cells)
    near = find_needles(
        LooksUp(config, reach=100), tokenizer, haystack, lengths, depths, NUMBERS, **ask
    )
    assert [cell.num_right for cell in near][1::2] == [4, 4]
    assert near[2].num_right == 0
    assert as_plain(near)[2] == {
        "length": 300,
        "depth": 0.0,
        "num_right": 0,
        "num_asked": 4,
        "accuracy": 0.0,
    }


def test_an_untrained_model_finds_nothing_and_the_same_questions_are_asked_again(
    tokenizer, tiny, replace, haystack
):
    torch.manual_seed(0)
    model = Decoder(replace(tiny, max_seq_len=128)).eval()
    found = [
        find_needles(model, tokenizer, haystack, [128], [0.5], WORDS, num_asked=8) for _ in range(2)
    ]
    assert found[0] == found[1]
    assert found[0][0].num_right <= 2  # chance is one of six at the very most


def test_lengths_that_cannot_be_are_said(tokenizer, tiny, haystack):
    model = Decoder(tiny)
    with pytest.raises(ValueError, match=r"lengths \[66\] are beyond the model's max_seq_len = 64"):
        find_needles(model, tokenizer, haystack, [65, 66], [0.5], WORDS)
    with pytest.raises(ValueError, match="a text of 20 tokens needs"):
        find_needles(model, tokenizer, haystack, [20], [0.5])
    with pytest.raises(ValueError, match="haystack of 5"):
        find_needles(model, tokenizer, haystack[:5], [64], [0.5], WORDS)


def test_the_command_prints_a_grid_or_says_what_is_wrong(base_model, tmp_path, monkeypatch, capsys):
    text = tmp_path / "text.txt"
    text.write_text("many things and more of them\n" * 50)
    command = ["needle", str(base_model), "--text", str(text), "--device", "cpu"]
    short = ["--lengths", "60", "--depths", "0", "1"]
    monkeypatch.setattr("sys.argv", [*command, "--lengths", "900"])
    assert main() == 2
    assert "beyond the model's max_seq_len = 64" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", [*command, *short])
    assert main() == 2  # four facts of the default kind need more room in this vocabulary
    assert "ask for longer texts" in capsys.readouterr().err
    for wrong, complaint in (
        (["--depths", "2"], "depths must be in [0, 1]"),
        (["--depths", "-3"], "depths must be in [0, 1]"),
        (["--questions", "0"], "at least one question"),
        (["--text", str(tmp_path / "missing")], "cannot read the text"),
        (["--device", "gpu"], "auto, cpu, cuda or cuda:N"),
    ):
        monkeypatch.setattr("sys.argv", [*command, *wrong])
        assert main() == 2
        assert complaint in capsys.readouterr().err


def test_a_grid_has_a_row_a_depth_and_a_column_a_length():
    cells = [Cell(n, d, k, 4) for n, d, k in [(64, 0.0, 1), (64, 1.0, 4), (1_024, 0.0, 0)]]
    assert grid_lines([*cells, Cell(1_024, 1.0, 2, 4)]) == [
        "depth         64    1,024",
        " 0.00       0.25     0.00",
        " 1.00       1.00     0.50",
    ]
