"""Commands that bring rows back, or decide about rows that were kept."""
