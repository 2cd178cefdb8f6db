"""The configuration files, importable as `biotune.configs` from a checkout and from a wheel alike."""
