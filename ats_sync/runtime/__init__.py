"""The threads that carry out what the engine decides, and tell it what happens."""
