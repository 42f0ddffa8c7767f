"""Filling masks: transformers' pipeline finds the same tokens with the same probabilities."""

import pytest
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

from model import chat
from model.architectures import EncoderConfig
from model.checkpoint import export_model, load_model
from model.encoder import Encoder
from model.fill_mask import encode_masked, fill_mask, main
from model.huggingface_folder import export_folder, import_folder


def shaken(model: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture
def encoder(tmp_path, tokenizer, tokenizer_path):
    config = EncoderConfig(
        vocab_size=tokenizer.get_vocab_size(),
        width=24,
        n_layers=2,
        n_heads=3,
        max_seq_len=40,
        mlp_width=50,
    )
    return export_model(tmp_path / "encoder", shaken(Encoder(config)), tokenizer_path)


@torch.no_grad()
def theirs_on(folder, text, top_k=4):
    """What transformers' fill-mask does: a list of (id, probability, text) for each mask."""
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    model = transformers.BertForMaskedLM.from_pretrained(folder)
    inputs = tokenizer(text.replace("<|mask|>", tokenizer.mask_token), return_tensors="pt")
    logits_TV = model(**inputs).logits[0]
    top = logits_TV[inputs["input_ids"][0] == tokenizer.mask_token_id].softmax(-1).topk(top_k)
    return [
        [(at, score, tokenizer.decode([at])) for at, score in zip(ids, scores, strict=True)]
        for ids, scores in zip(top.indices.tolist(), top.values.tolist(), strict=True)
    ]


def test_candidates_are_those_of_transformers_on_an_exported_encoder(encoder, tmp_path):
    model, tokenizer = load_model(encoder)
    folder = export_folder(encoder, tmp_path / "hf")
    for text in ("iron <|mask|> coal", "<|mask|> ore and <|mask|>"):
        found = fill_mask(model, tokenizer, text, 4)
        for ours, theirs in zip(found, theirs_on(folder, text), strict=True):
            assert [c.token_id for c in ours] == [token_id for token_id, _, _ in theirs]
            expected = [score for _, score, _ in theirs]
            assert [c.probability for c in ours] == pytest.approx(expected, rel=1e-4)


def bert_folder(folder):
    """A random BERT as transformers writes it, with a WordPiece vocabulary."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += ["the", "iron", "is", "hot", "and", "cold", "##ly"]
    vocabulary = {word: at for at, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word in words[:5]])
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=50,
        max_position_embeddings=32,
    )
    shaken(transformers.BertForMaskedLM(config)).save_pretrained(folder)
    names = {"cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]", "pad": "[PAD]", "unk": "[UNK]"}
    ends = {f"{name}_token": token for name, token in names.items()}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **ends).save_pretrained(folder)
    return folder


def test_candidates_are_those_of_transformers_on_a_bert_that_was_read(tmp_path):
    """Its own ``[CLS]`` and ``[SEP]`` stand around the text."""
    folder = bert_folder(tmp_path / "bert")
    model, tokenizer = load_model(import_folder(folder, tmp_path / "ours"))
    text = "the iron is <|mask|> and cold"
    assert encode_masked(tokenizer, text)[0] == 2
    (ours,) = fill_mask(model, tokenizer, text, 3)
    (theirs,) = theirs_on(folder, text, 3)
    assert [(c.token_id, c.text) for c in ours] == [(at, text) for at, _, text in theirs]
    # ours has embeddings for the special tokens of conversations besides: a little probability
    ratios = [c.probability / score for c, (_, score, _) in zip(ours, theirs, strict=True)]
    assert ratios == pytest.approx([ratios[0]] * 3, rel=1e-3)
    assert 0.5 < ratios[0] <= 1


def test_the_command_line_prints_candidates(encoder, base_model, capsys):
    assert main([str(encoder), "--text", "iron <|mask|>", "--candidates", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    probabilities = [float(line.split()[1]) for line in lines]
    assert len(lines) == 3
    assert probabilities == sorted(probabilities, reverse=True)
    assert main([str(encoder), "--text", "iron"]) == 2
    assert "has no mask" in capsys.readouterr().err
    assert main([str(base_model), "--text", "iron <|mask|>"]) == 2
    assert "does not fill masks" in capsys.readouterr().err


def test_a_masked_text_is_a_document_but_for_its_masks(tokenizer):
    ids = encode_masked(tokenizer, "iron<|mask|> ore[MASK]")
    pad = chat.special_id(tokenizer, chat.PAD)
    assert ids.count(pad) == 2
    assert chat.decode(tokenizer, ids) == "iron ore"
    assert ids[0] == chat.special_id(tokenizer, chat.BOS)
    assert ids[-1] == chat.special_id(tokenizer, chat.EOS)
