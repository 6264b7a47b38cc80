"""How what happened leaves for other systems, one file per kind."""
