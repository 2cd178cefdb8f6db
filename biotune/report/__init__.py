"""Tables, plots and pages from what `store` wrote. No torch."""
