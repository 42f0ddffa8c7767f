"""Build instructions, preferences and a multiple-choice suite."""
