"""Signatures: documents of one source in; the keys by which copies are found out."""
