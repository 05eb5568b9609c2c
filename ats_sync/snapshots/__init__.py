"""The snapshot on disk for the next start: the records, the checks when loading, the files, and the thread."""
