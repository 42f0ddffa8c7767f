"""Where the passages stage names what documents repeat most, for whoever looks at its artifact."""

REPEATED_NAME = "repeated.jsonl"  # rule, within, count, documents, text; a line each
