"""Personal data and secrets in texts: found, and dropped, masked, pseudonymised or noted."""
