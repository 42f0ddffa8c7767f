"""Train a byte-level BPE vocabulary on a mixed corpus."""
