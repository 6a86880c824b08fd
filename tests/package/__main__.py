"""`python -m tests.package wheel|deb|man|completion|root FOLDER`: builds one of them; `root` installs the package."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.package import completion, deb, manual, root, wheels


def main(arguments: list[str]) -> int:
    """Build what is named, and say which files that are."""
    if len(arguments) != 2 or arguments[0] not in ("wheel", "deb", "man", "completion", "root"):
        sys.stderr.write("usage: python -m tests.package wheel|deb|man|completion|root FOLDER\n")
        return 2
    what, folder = arguments[0], Path(arguments[1])
    if what == "root":
        return root.main(folder)
    made = {
        "wheel": lambda: wheels.build(folder, "sdist", "wheel"),
        "deb": lambda: [deb.build(folder)],
        "man": lambda: manual.write(folder, wheels.VERSION, int(time.time())),
        "completion": lambda: completion.write(folder),
    }[what]()
    print("\n".join(str(path) for path in made))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
