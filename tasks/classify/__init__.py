"""Classify: documents in, the same documents with a subject and a quality score out."""
