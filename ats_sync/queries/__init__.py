"""What a read of each kind requires of its series, and what it requests where memory cannot answer."""
