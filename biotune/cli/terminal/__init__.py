"""Output on the terminal: plain lines, tables, the live dashboard and JSON."""
