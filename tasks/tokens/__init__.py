"""Encode a mixed corpus into token shards."""
