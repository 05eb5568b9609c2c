"""Reads: from memory while that is fresh, else by REST, else a loud error."""
