"""Teach a pretrained model to follow instructions."""
