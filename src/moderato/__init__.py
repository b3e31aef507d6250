"""moderato decides whether a picture may be shown, on the user's own machine."""
