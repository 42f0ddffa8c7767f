"""Classifying texts: the loss is BERT's, training learns, resumes to the same bits and names its
classes, and transformers says the same of the exported folder."""

import json
import random
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file

from model.architectures import EncoderConfig
from model.checkpoint import load_model
from model.classify import classify, encode_text, main
from model.encoder import Encoder
from model.huggingface import from_huggingface, to_huggingface
from model.huggingface_folder import export_folder, import_folder
from model.job import RecordData
from model.objectives.classify import Label, LabelledLoader, labels_of, with_classes
from model.options import OptimConfig
from model.trainer import Trainer, train

LABELS = ("fire", "metal", "water")
WORDS = {
    "fire": ["coal", "ember", "ash"],
    "metal": ["iron", "ore", "flux"],
    "water": ["jet", "draw"],
}


def write(path: Path, seed: int, count: int = 60) -> Path:
    rng = random.Random(seed)
    lines = []
    for number in range(count):
        label = LABELS[number % 3]
        text = " ".join(rng.choices(WORDS[label] + ["bloom", "kiln", "gate"], k=rng.randint(4, 20)))
        lines.append(json.dumps({"id": str(number), "text": text, "label": label}))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def shape(tiny):
    return EncoderConfig(
        vocab_size=tiny.vocab_size,
        width=32,
        n_layers=2,
        n_heads=4,
        max_seq_len=40,
        mlp_width=64,
    )


@pytest.fixture
def make(make_job, tmp_path, shape, tokenizer_path):
    """A classification job; any field can be overruled."""

    def job(**changes):
        fields = {
            "data": RecordData(
                train=str(write(tmp_path / "train.jsonl", 0)),
                val=str(write(tmp_path / "val.jsonl", 1, 30)),
            ),
            "model": shape,
            "init_from": None,
            "tokenizer": str(tokenizer_path),
            "seq_len": 40,
            "batch_size": 12,
            "micro_batch_size": 5,
        }
        return make_job("classify", **(fields | changes))

    return job


def events(job, event):
    lines = (Path(job.out_dir) / "metrics.jsonl").read_text().splitlines()
    return [entry for entry in map(json.loads, lines) if entry["event"] == event]


def test_it_learns_and_the_model_knows_its_classes(make, tmp_path, capsys):
    job = make(steps=60, eval_every_steps=30, optim=OptimConfig(lr=3e-3, warmup_steps=5))
    assert train(job) == "done"
    assert events(job, "eval")[-1]["val_accuracy"] > 0.9  # a third by chance
    final = Path(job.out_dir) / "final"
    model, tokenizer = load_model(final)
    assert model.config.class_names == LABELS
    texts = ["coal ember ash coal", "iron ore flux iron ore", "jet draw jet " * 40]
    found = classify(model, tokenizer, texts)
    assert [next(iter(labels)) for labels in found] == list(LABELS)
    assert all(sum(labels.values()) == pytest.approx(1) for labels in found)
    # beside others, padded, a text is what it is alone
    alone = [classify(model, tokenizer, [text])[0] for text in texts]
    for together, own in zip(found, alone, strict=True):
        assert together == pytest.approx(own, abs=1e-6)
    assert main([str(final), "--text", texts[1], "--labels", "1"]) == 0
    assert capsys.readouterr().out.split()[2] == "metal"

    folder = export_folder(final, tmp_path / "hf")
    their_tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    theirs = transformers.BertForSequenceClassification.from_pretrained(folder)
    for text, ours in zip(texts[:2], found, strict=False):
        with torch.no_grad():
            scores = theirs(**their_tokenizer(text, return_tensors="pt")).logits[0].softmax(-1)
        named = {theirs.config.id2label[at]: score for at, score in enumerate(scores.tolist())}
        assert named == pytest.approx(ours, abs=1e-5)
    back, _ = load_model(import_folder(folder, tmp_path / "back"))
    assert back.config == model.config


def test_the_loss_is_that_of_bert(make, tokenizer):
    trainer = Trainer(make())
    trainer.close()
    model = trainer.model.eval()
    batch = next(trainer.val_loader.sweep(1))
    config, state = to_huggingface(model)
    theirs = transformers.BertForSequenceClassification(transformers.BertConfig(**config)).eval()
    theirs.load_state_dict(state)
    places_T = torch.arange(batch.inputs_BT.shape[1])
    real_BT = (places_T < torch.tensor(batch.lengths)[:, None]).long()
    labels_B = batch.targets_BT[batch.mask_BT]
    expected = theirs(batch.inputs_BT, attention_mask=real_BT, labels=labels_B)
    sums = Label().sums(model, batch)
    found = sums["loss"] / Label().count(batch)
    torch.testing.assert_close(found, expected.loss, rtol=1e-5, atol=0)
    assert sums["accuracy"] == (expected.logits.argmax(-1) == labels_B).sum()
    back = from_huggingface(theirs.config.to_dict(), theirs.state_dict())
    assert back.config.class_names == LABELS


def test_microbatches_give_the_gradient_of_the_whole(make):
    gradients = []
    for size in (None, 1, 5):
        trainer = Trainer(make(micro_batch_size=size))
        trainer.accumulate(trainer.loader.next_batch())
        gradients.append(trainer.model.pool.weight.grad.clone())
        trainer.close()
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=1e-4, atol=1e-7)


def test_it_resumes_to_the_same_bits(make, tmp_path):
    jobs = [make(steps=8, out_dir=str(tmp_path / which)) for which in ("whole", "halves")]
    calls = iter(range(100))
    assert train(jobs[0]) == "done"
    assert train(jobs[1], lambda: next(calls) == 3) == "stopped"
    assert train(jobs[1]) == "done"
    one, two = (load_file(Path(job.out_dir) / "final/model.safetensors") for job in jobs)
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_masked_language_model_keeps_all_but_its_head(make, make_job, shape, tmp_path):
    base = make_job("mlm", model=shape, steps=2, out_dir=str(tmp_path / "mlm"))
    train(base)
    final = tmp_path / "mlm" / "final"
    trainer = Trainer(make(model=None, init_from=str(final), tokenizer=None))
    trainer.close()
    before, after = load_file(final / "model.safetensors"), trainer.model.state_dict()
    shared = before.keys() & after.keys()
    assert {key.split(".")[0] for key in before.keys() - shared} == {
        *("transform", "transform_norm", "head_bias")
    }
    assert {key.split(".")[0] for key in after.keys() - shared} == {"pool", "to_classes"}
    assert all(torch.equal(before[key], after[key]) for key in shared)


def test_other_classes_and_odd_records_are_refused(make, tmp_path, shape, tokenizer, base_model):
    model = with_classes(Encoder(shape), LABELS)
    assert with_classes(model, LABELS) is model
    with pytest.raises(ValueError, match=r"classes are \[\"fire\""):
        with_classes(model, ("a", "b"))
    one = tmp_path / "one.jsonl"
    one.write_text('{"id": "0", "text": "iron", "label": "metal"}\n')
    with pytest.raises(ValueError, match="there must be two"):
        labels_of(one)
    with pytest.raises(ValueError, match=r"line 1.*none of the training records"):
        LabelledLoader(one, tokenizer, 40, 1, 0, ("fire", "water"))
    one.write_text('{"id": "0", "text": "iron", "label": 3}\n')
    with pytest.raises(ValueError, match=r"line 1.*must be a string"):
        labels_of(one)
    with pytest.raises(ValueError, match="labels must be num_classes"):
        EncoderConfig(**(shape.to_json_dict() | {"num_classes": 2, "labels": ("a", "a")}))
    with pytest.raises(ValueError, match="does not train decoders"):
        Trainer(make(model=None, tokenizer=None, init_from=str(base_model)))


def test_a_long_text_is_cut_and_keeps_its_ends(tokenizer):
    whole = encode_text(tokenizer, "iron ore " * 50, 10_000)
    cut = encode_text(tokenizer, "iron ore " * 50, 12)
    assert len(cut) == 12
    assert cut == [*whole[:11], whole[-1]]


def test_a_decoder_does_not_classify(base_model, capsys):
    assert main([str(base_model), "--text", "iron"]) == 2
    assert "has no classes" in capsys.readouterr().err
    assert main([str(base_model), "--text", "iron", "--labels", "0"]) == 2
    assert "--labels must be at least 1" in capsys.readouterr().err
