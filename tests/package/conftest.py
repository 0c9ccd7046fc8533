"""What the tests keep on disk lies in a folder of their own."""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("UNSTUCK_CACHE", str(Path(tempfile.gettempdir()) / "unstuck-tests"))
