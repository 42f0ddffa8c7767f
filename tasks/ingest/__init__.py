"""Bring documents from plain files into the store."""
