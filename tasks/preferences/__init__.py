"""Let a model answer, judge its answers, and make preference pairs of them."""
