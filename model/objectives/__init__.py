"""What training can be for: one file an objective."""
