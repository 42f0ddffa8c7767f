"""Align a model with preferences."""
