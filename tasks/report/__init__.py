"""Draw the final report of a run."""
