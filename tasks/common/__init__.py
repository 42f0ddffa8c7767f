"""What every stage stands on: artifacts, shards, documents, fan-out, reports."""
