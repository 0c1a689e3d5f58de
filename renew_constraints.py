"""``make constraints``: resolve the requirements anew, and pin all that they bring.

Writes ``constraints.txt`` (what ``requirements.txt`` brings: the program and its logged models) and
``constraints-dev.txt`` (what Ray and the developer's tools add). Needs PyPI, and installs nothing.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from packaging.markers import Marker

ROOT = Path(__file__).parent
MARKER = 'sys_platform == "linux" and platform_machine == "x86_64" and python_version == "3.11"'
# Libraries that come with torch's CUDA build alone, which names their versions itself; XGBoost's
# own is another one.
OF_TORCH = re.compile(r"(?!nvidia-nccl-cu12)(nvidia|cuda|triton)\b")
HEAD = """\
# Made by `make constraints`; not to be edited. {what}
# On Linux x86-64 with Python 3.11 every package is pinned; elsewhere the markers switch these lines
# off, and the requirements' own pins are left. torch has no label: its build (CPU or CUDA) is the
# installer's choice, and the CUDA build names the versions of its own libraries.
"""
WHAT = {
    "constraints.txt": "All that requirements.txt brings.",
    "constraints-dev.txt": "All that requirements-dev.txt adds to constraints.txt.",
}


def resolve(python: Path, *arguments: str) -> dict[str, str]:
    """Ask pip what it would install into an empty environment: versions by name."""
    command = [python, "-m", "pip", "install", "--quiet", "--dry-run", "--report", "-", *arguments]
    told = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    packages = [each["metadata"] for each in json.loads(told)["install"]]
    found = {re.sub(r"[-_.]+", "-", each["name"]).lower(): each["version"] for each in packages}
    return {
        name: version.partition("+")[0]
        for name, version in sorted(found.items())
        if not OF_TORCH.match(name)
    }


def write(name: str, pins: dict[str, str], first: str = "") -> None:
    """Write one file of constraints."""
    lines = "".join(f"{each}=={version} ; {MARKER}\n" for each, version in pins.items())
    (ROOT / name).write_text(HEAD.format(what=WHAT[name]) + first + lines)


def main() -> None:
    """Renew both files; the words of the command line are options for pip."""
    if not Marker(MARKER).evaluate():
        raise SystemExit("the constraints are those of Linux x86-64 with Python 3.11: renew there")
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        program = resolve(python, "-r", "requirements.txt", *sys.argv[1:])
        write("constraints.txt", program)
        everything = resolve(
            python, "-r", "requirements-dev.txt", "-c", "constraints.txt", *sys.argv[1:]
        )
        added = {name: version for name, version in everything.items() if name not in program}
        write("constraints-dev.txt", added, "-c constraints.txt\n")


if __name__ == "__main__":
    main()
