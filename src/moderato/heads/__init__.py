"""Heads: embeddings → scores. One kind a file."""
