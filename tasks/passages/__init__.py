"""Passages: documents in, the same documents without what stands elsewhere already."""
