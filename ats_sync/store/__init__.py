"""What is known. One class a kind, each with its own lock; no threads, sockets or clocks."""
