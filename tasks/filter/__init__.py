"""Filter: documents in, the good ones out; every other one with the rule that it broke."""
