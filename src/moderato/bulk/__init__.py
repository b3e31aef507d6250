"""Work on more embeddings than fit into memory, done piece by piece, continued after a cut."""
