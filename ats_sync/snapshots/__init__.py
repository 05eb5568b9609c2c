"""The snapshot on disk for the next start: what is written, what is accepted when loading, the files, and the
thread."""
