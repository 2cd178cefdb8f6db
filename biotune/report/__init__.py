"""Tables, plots and pages from the files of a run folder. Imports no torch."""
