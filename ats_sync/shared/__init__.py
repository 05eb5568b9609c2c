"""What several processes share through Valkey or Redis: one feed, one lease, one account of requests."""
