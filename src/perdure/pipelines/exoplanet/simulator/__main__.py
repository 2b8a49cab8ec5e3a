"""Write simulated curves as Kaggle-layout CSV files: `python -m perdure.pipelines.exoplanet.simulator FOLDER`."""

from __future__ import annotations

import argparse
from pathlib import Path

from perdure.pipelines.exoplanet.simulator.kaggle import export_kaggle
from perdure.pipelines.exoplanet.simulator.signal import DIFFICULTIES


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m perdure.pipelines.exoplanet.simulator", description=__doc__
    )
    parser.add_argument("folder", type=Path, help="where the files go; made if it is missing")
    parser.add_argument("--curves", type=int, default=32_384, help="stars in all (%(default)s)")
    parser.add_argument("--files", type=int, default=16, help="files (%(default)s)")
    parser.add_argument(
        "--seed", type=int, default=0, help="the same seed gives the same files (%(default)s)"
    )
    parser.add_argument("--planet-share", type=float, default=0.1, help="share of planets (%(default)s)")
    parser.add_argument("--difficulty", choices=sorted(DIFFICULTIES), default="medium")
    chosen = parser.parse_args()
    written = export_kaggle(
        chosen.folder, seed=chosen.seed, curves=chosen.curves, files=chosen.files,
        planet_share=chosen.planet_share, difficulty=chosen.difficulty,
    )  # fmt: skip
    size = sum(path.stat().st_size for path in written)
    print(f"{len(written)} files, {chosen.curves} curves, {size / 1e6:.0f} MB in {chosen.folder}")


if __name__ == "__main__":
    main()
