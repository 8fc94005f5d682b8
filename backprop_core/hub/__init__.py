"""Base models: where they lie, how they are fetched and what may be read from them. No torch."""
