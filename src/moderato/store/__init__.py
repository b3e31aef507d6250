"""What is kept: embeddings, so that nothing is computed twice; API keys, their limits, and who administered them."""
