"""A further process of a daemon that is `patient` (tests/sabotage)."""

from __future__ import annotations

import sabotage

from daemon import sibling

if __name__ == "__main__":
    sabotage.patient()
    sibling.main()
