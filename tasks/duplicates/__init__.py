"""Duplicates: keys of all documents in; for each of them whether it stays, and why not, out."""
