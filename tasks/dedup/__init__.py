"""Dedup: documents in, one of each set of copies out; the others name the copy that stayed."""
