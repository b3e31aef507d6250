"""The HTTP service. The only place with `async`; it imports FastAPI and nothing below it does."""
