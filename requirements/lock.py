"""Write requirements/dev.txt: what the development environment consists of, exact versions with the index's digests.

It pins what is installed here of `perdure[dev]` and all that those need, and asks the package index for the digests of
the files that belong to these versions on this platform; nothing is downloaded but metadata. `--check` says instead
whether the pins are those of this environment.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK = Path(__file__).with_name("dev.txt")
PROJECT = Path(__file__).parents[1] / "pyproject.toml"
INDEX, FILES = "https://pypi.org/simple", "https://files.pythonhosted.org/"
PYTHON = f"Python {sys.version_info[0]}.{sys.version_info[1]}, {sys.platform}"
HEAD = f"""# The development environment, written by `make lock` ({PYTHON}).
# Install: python -m pip install --require-hashes -r requirements/dev.txt; audit: pip-audit -r requirements/dev.txt
"""
_OWN_SETTINGS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONSTRAINT", "PIP_NO_INDEX")


def pins() -> dict[str, str]:
    """Name and version of every package that `perdure[dev]` needs here."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    extras = project["optional-dependencies"]
    pending = [Requirement(line) for line in [*project["dependencies"], *extras["dev"]]]
    found: dict[str, str] = {}
    seen: set[str] = set()
    while pending:
        wanted = pending.pop()
        if str(wanted) in seen or not _applies(wanted):
            continue
        seen.add(str(wanted))
        if wanted.name == project["name"]:
            pending += [Requirement(line) for extra in wanted.extras for line in extras[extra]]
            continue
        installed = _installed(wanted)
        found[canonicalize_name(wanted.name)] = installed.version.partition("+")[
            0
        ]  # the index has no local builds
        for line in installed.requires or ():
            needed = Requirement(line)
            if any(_applies(needed, extra) for extra in ("", *wanted.extras)):
                needed.marker = None
                pending.append(needed)
    return dict(sorted(found.items()))


def _applies(wanted: Requirement, extra: str = "") -> bool:
    return wanted.marker is None or wanted.marker.evaluate({"extra": extra})


def _installed(wanted: Requirement) -> Distribution:
    try:
        return distribution(wanted.name)
    except PackageNotFoundError:
        raise SystemExit(
            f"{wanted} is not installed here; set the environment up with `make test` first"
        ) from None


def digests(wanted: dict[str, str]) -> dict[str, str]:
    """SHA-256 by package, of the file that the index has for this version and platform."""
    surroundings = {name: value for name, value in os.environ.items() if name not in _OWN_SETTINGS}
    with tempfile.TemporaryDirectory() as folder:
        listed, report = Path(folder, "pins.txt"), Path(folder, "report.json")
        listed.write_text("".join(f"{name}=={version}\n" for name, version in wanted.items()))
        command = [
            sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet",
            "--only-binary", ":all:", "--index-url", INDEX, "--report", str(report), "--requirement", str(listed),
        ]  # fmt: skip
        subprocess.run(command, env=surroundings | {"PIP_CONFIG_FILE": os.devnull}, check=True)
        files = [
            entry["download_info"] | entry["metadata"] for entry in json.loads(report.read_text())["install"]
        ]
    foreign = [file["url"] for file in files if not file["url"].startswith(FILES)]
    if foreign:
        raise SystemExit(f"these files are not the index's own: {foreign}")
    return {canonicalize_name(file["name"]): file["archive_info"]["hashes"]["sha256"] for file in files}


def recorded() -> dict[str, str]:
    return dict(re.findall(r"^(\S+)==(\S+)", LOCK.read_text(), re.MULTILINE)) if LOCK.exists() else {}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 when out of date")
    wanted = pins()
    if parser.parse_args().check:
        if recorded() == wanted:
            return 0
        different = sorted(dict(recorded().items() ^ wanted.items()))
        print(f"{LOCK} is out of date ({', '.join(different)}); write it with `make lock`", file=sys.stderr)
        return 1
    found = digests(wanted)
    lines = [f"{name}=={version} \\\n    --hash=sha256:{found[name]}\n" for name, version in wanted.items()]
    LOCK.write_text(HEAD + "".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
