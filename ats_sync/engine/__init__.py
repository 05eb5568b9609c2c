"""What to do. Pure: (moment, event) → actions; no threads, sockets or clocks of its own."""
