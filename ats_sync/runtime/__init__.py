"""The threads that execute the engine's actions and report events to it."""
