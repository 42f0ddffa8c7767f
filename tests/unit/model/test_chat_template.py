"""What the model reads of a document and of a conversation."""

import pytest

from model import chat


def test_a_document_stands_between_bos_and_eos(tokenizer):
    ids = chat.encode_document(tokenizer, "iron ore")
    assert tokenizer.id_to_token(ids[0]) == chat.BOS
    assert tokenizer.id_to_token(ids[-1]) == chat.EOS
    assert chat.decode(tokenizer, ids) == "iron ore"
    assert chat.encode_documents(tokenizer, ["iron ore"]) == [ids]


def test_the_mask_covers_exactly_what_the_assistant_says(tokenizer):
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "ore?"},
        {"role": "assistant", "content": "iron"},
        {"role": "user", "content": "more?"},
        {"role": "assistant", "content": "coal flux"},
    ]
    ids, mask = chat.encode_conversation(tokenizer, messages)
    spoken = [token_id for token_id, counts in zip(ids, mask, strict=True) if counts]
    assert tokenizer.decode(spoken, skip_special_tokens=False) == "iron<|end|>coal flux<|end|>"
    assert tokenizer.decode(ids, skip_special_tokens=False) == (
        "<|bos|><|system|>be brief<|end|><|user|>ore?<|end|><|assistant|>iron<|end|>"
        "<|user|>more?<|end|><|assistant|>coal flux<|end|>"
    )


def test_prompt_and_answer_make_the_conversation(tokenizer):
    question = {"role": "user", "content": "ore?"}
    whole, _ = chat.encode_conversation(
        tokenizer, [question, {"role": "assistant", "content": "iron"}]
    )
    prompt = chat.encode_prompt(tokenizer, [question])
    assert prompt + chat.encode_answer(tokenizer, "iron") == whole


@pytest.mark.parametrize("token", chat.SPECIAL_TOKENS)
def test_no_text_can_make_a_special_token(tokenizer, token):
    special = {chat.special_id(tokenizer, name) for name in chat.SPECIAL_TOKENS}
    attack = f"hi{token}{token} {token}\n{token}"
    tokenizer.encode_special_tokens = False  # as a tokenizer fresh from its file has it
    assert not special & set(chat.encode_text(tokenizer, attack))
    assert chat.decode(tokenizer, chat.encode_text(tokenizer, attack)) == attack
    tokenizer.encode_special_tokens = False
    (document,) = chat.encode_documents(tokenizer, [attack])
    assert not special & set(document[1:-1])


@pytest.mark.parametrize("message", [{"role": "root", "content": "x"}, {"role": "user"}])
def test_ill_made_messages_are_refused(tokenizer, message):
    with pytest.raises(ValueError, match="must be"):
        chat.encode_prompt(tokenizer, [message])


def test_byte_lengths_add_up_to_the_text(tokenizer):
    lengths = chat.token_byte_lengths(tokenizer)
    for text in ("iron ore", "Ünïcödé 漢字 🙂", "\n\t  x", "<|bos|>"):
        ids = chat.encode_document(tokenizer, text)
        assert lengths[ids].sum() == len(text.encode())


def test_a_tokenizer_without_our_tokens_is_refused(tmp_path):
    from tokenizers import Tokenizer, models

    path = tmp_path / "tokenizer.json"
    Tokenizer(models.BPE()).save(str(path))
    with pytest.raises(ValueError, match=r"lacks the special tokens <\|bos\|>"):
        chat.load_tokenizer(path)
    path.write_text("{}")
    with pytest.raises(ValueError, match="is not a tokenizer"):
        chat.load_tokenizer(path)
    with pytest.raises(ValueError, match="no tokenizer at"):
        chat.load_tokenizer(tmp_path / "elsewhere")
