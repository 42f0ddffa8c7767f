"""Measure one model: perplexity, multiple choice, samples."""
