"""A run's folder on disk: file names, whole files, the journal, the status and the lock. Knows no torch."""
