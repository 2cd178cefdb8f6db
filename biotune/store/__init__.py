"""A run's folder on disk: file names, atomic writes, the journal, the status and the lock. Imports no torch."""
