"""Texts of evaluation suites in training documents: found, and cut out, dropped or noted."""
