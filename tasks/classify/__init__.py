"""Classify: documents and trained classifiers in, documents with scores out."""
