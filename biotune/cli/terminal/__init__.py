"""What the user sees: plain lines, tables, the live dashboard, JSON."""
