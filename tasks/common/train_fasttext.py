"""Trains one fastText classifier; a program of its own, which ``train_fasttext`` starts.

fastText leaves most of its input matrix uninitialised when it trains with few threads. The caller
sets ``GLIBC_TUNABLES=glibc.malloc.perturb=255``, which makes fresh memory zero, before this
process begins; with one thread the model is then the same to the last bit every time.
"""

import argparse
import os

import fasttext

PERTURB = "glibc.malloc.perturb=255"


def main() -> None:
    """Read a training file, write a model."""
    parser = argparse.ArgumentParser(description="Train a fastText classifier, reproducibly.")
    parser.add_argument("input")
    parser.add_argument("output")
    parser.add_argument("--dimensions", type=int, required=True)
    parser.add_argument("--buckets", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--learning-rate", type=float, required=True)
    args = parser.parse_args()
    assert PERTURB in os.environ.get("GLIBC_TUNABLES", ""), (
        "start this through fasttext_model.train_fasttext"
    )
    model = fasttext.train_supervised(
        args.input,
        dim=args.dimensions,
        bucket=args.buckets,
        epoch=args.epochs,
        lr=args.learning_rate,
        wordNgrams=2,
        minCount=2,
        thread=1,
        seed=1,
        verbose=0,
    )
    model.save_model(args.output)


if __name__ == "__main__":
    main()
