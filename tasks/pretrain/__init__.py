"""Train a language model on token shards."""
