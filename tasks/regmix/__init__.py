"""Learn a mixture's weights from many tiny training runs."""
