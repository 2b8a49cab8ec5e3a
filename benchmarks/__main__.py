"""`python -m benchmarks [save|epoch|data|boosting|market|commands|dashboard] [--all]`: no name runs everything."""

from __future__ import annotations

import argparse
import contextlib
import io
import os

os.environ.setdefault("KERAS_BACKEND", "jax")  # before anything imports Keras
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
_NAMES = ("save", "epoch", "data", "boosting", "market", "commands", "dashboard")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=" or ".join(_NAMES))
    parser.add_argument("--all", action="store_true", help="also what takes half a minute a time")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(_NAMES)
    if unknown:
        parser.error(f"there is no benchmark {sorted(unknown)}; there are {', '.join(_NAMES)}")
    for name in arguments.names or _NAMES:
        with contextlib.redirect_stderr(io.StringIO()):  # what runs tell their users
            _run(name, slow=arguments.all)


def _run(name: str, *, slow: bool) -> None:
    from benchmarks import boosting, commands, dashboard, data, epoch, market, save

    if name == "save":
        save.run(slow=slow)
    else:
        others = {
            "epoch": epoch, "data": data, "boosting": boosting, "market": market, "commands": commands,
            "dashboard": dashboard,
        }  # fmt: skip
        others[name].run()


if __name__ == "__main__":
    main()
