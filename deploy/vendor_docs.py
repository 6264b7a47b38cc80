"""Renews what /api/docs and /api/redoc show, from the pinned packages of npm: `make vendor`.

Only what the pages need is kept, compressed, beside its licences and a list of what it is. npm
checks the packages; their checksums stand here too, so that a version never changes silently.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ASSETS = Path(__file__).parents[1] / "daemon" / "transport" / "assets"
PACKAGES = {
    "swagger-ui-dist": (
        "5.35.0",
        "sha512-U06rpMtW9V3XPGOBeamTUSr0Z09jMX4IJuANpE/EZbAhw0G8CgwrzU4YmXkn/h0wCDNsXdGarTNNHC3sU8yVUQ==",
    ),
    "redoc": (
        "2.5.4",
        "sha512-M6jWhG1qoBnH6TFmzJnstyCZ87HmOY/UzDm78mHiYihEdlV/YcS9ogOo1NlElnJMeLsyxHFe2yFc4sNjHTrABQ==",
    ),
}
# Package, file in it, where it goes.
FILES = (
    ("swagger-ui-dist", "swagger-ui-bundle.js", "swagger-ui-bundle.js.gz"),
    ("swagger-ui-dist", "swagger-ui.css", "swagger-ui.css.gz"),
    ("swagger-ui-dist", "LICENSE", "swagger-ui.LICENSE.txt"),
    ("swagger-ui-dist", "NOTICE", "swagger-ui.NOTICE.txt"),
    ("swagger-ui-dist", "swagger-ui-bundle.js.LICENSE.txt", "swagger-ui-bundle.js.LICENSE.txt"),
    ("redoc", "bundles/redoc.standalone.js", "redoc.standalone.js.gz"),
    ("redoc", "LICENSE", "redoc.LICENSE.txt"),
    ("redoc", "bundles/redoc.standalone.js.LICENSE.txt", "redoc.standalone.js.LICENSE.txt"),
)
# What would be asked of other hosts: a logo, and maps of the source that are not here.
REPLACED = {
    "redoc.standalone.js.gz": ((b"https://cdn.redoc.ly/redoc/logo-mini.svg", b"data:,"),),
}


def fetch(name: str, folder: Path) -> Path:
    """The unpacked package; exits when it is not the one that is pinned."""
    version, integrity = PACKAGES[name]
    packed = subprocess.run(
        ["npm", "pack", f"{name}@{version}", "--json", "--pack-destination", str(folder)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    said = json.loads(packed.stdout)[0]
    if said["integrity"] != integrity:
        sys.exit(f"{name} {version} is {said['integrity']}, not {integrity}")
    with tarfile.open(folder / said["filename"]) as tar:
        tar.extractall(folder / name, filter="data")
    return folder / name / "package"


def kept(content: bytes, target: str) -> bytes:
    """What is stored of a file; the same for the same file."""
    for former, latter in REPLACED.get(target, ()):
        if former not in content:
            sys.exit(f"{target} does not hold {former.decode()} any more")
        content = content.replace(former, latter)
    if not target.endswith(".gz"):
        return content
    last = content.rstrip().rfind(b"\n") + 1
    if b"# sourceMappingURL=" in content[last:]:
        content = content[:last]
    return gzip.compress(content, 9, mtime=0)


def main() -> None:
    """Write all files anew, and the list of them."""
    ASSETS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        packages = {name: fetch(name, Path(folder)) for name in PACKAGES}
        stored = {t: kept((packages[name] / f).read_bytes(), t) for name, f, t in FILES}
    listed = {
        "packages": {name: {"version": v, "integrity": i} for name, (v, i) in PACKAGES.items()},
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in stored.items()},
    }
    for name, content in stored.items():
        (ASSETS / name).write_bytes(content)
    (ASSETS / "assets.json").write_text(json.dumps(listed, indent=2) + "\n")


if __name__ == "__main__":
    main()
