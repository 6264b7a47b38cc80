"""What the command line prints; the only importer of rich."""
