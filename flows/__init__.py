"""The order of things: flows, their parameters and the command line."""
