"""Download the archive from $URL to $ARCHIVE, and keep it only if its SHA-256 is $SHA256."""

import hashlib
import os
import sys
import urllib.request
from pathlib import Path

archive = Path(os.environ["ARCHIVE"])
part = archive.with_suffix(".part")
digest = hashlib.sha256()
with urllib.request.urlopen(os.environ["URL"], timeout=60) as source, part.open("wb") as file:
    while block := source.read(1 << 20):
        digest.update(block)
        file.write(block)
if digest.hexdigest() != os.environ["SHA256"]:
    part.unlink()
    sys.exit(f"error: {os.environ['URL']} has the SHA-256 {digest.hexdigest()}, not {os.environ['SHA256']}")
part.rename(archive)
