"""Extract: web archives in, documents out; every record that is no document leaves a reason."""
