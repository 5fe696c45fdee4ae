"""Running models: sessions, their engines, and the comparison of two models."""
