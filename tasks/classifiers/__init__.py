"""Classifiers: labelled documents and files in, trained classifiers with their measures out."""
