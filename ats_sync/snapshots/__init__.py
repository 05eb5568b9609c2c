"""Rows that are kept on disk for the next start: what is written, what is accepted of it, the files, and the thread."""
