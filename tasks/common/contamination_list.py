"""Where the filter stage names what of evaluation suites it found, for whoever looks there."""

CONTAMINATION_NAME = "contamination.jsonl"  # suite, item, document, action, text …; a line each
