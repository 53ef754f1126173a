"""The data sets: where they come from, and where they are here.

``python -m benchmarks.data`` lists them. ``python -m benchmarks.data NAME ...`` downloads those that are not at hand.
"""

from __future__ import annotations

import argparse

from benchmarks.data import SOURCES, ChecksumError, DataMissingError, folder
from benchmarks.data.sources import Source


def main() -> None:
    """Parse the command line; list, or download."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.data", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="data sets to have at hand")
    names = parser.parse_args().names
    try:
        for name in names:
            print(name, folder(name))
    except (ChecksumError, DataMissingError, ValueError) as error:
        raise SystemExit(str(error)) from error
    if not names:
        print("\n\n".join(describe(source) for source in SOURCES.values()))


def describe(source: Source) -> str:
    """What a data set is, its origin and licence, and where it is."""
    files = source.files()
    try:
        place = str(folder(source.name, download=False))
    except DataMissingError:
        place = "not here"
    return (
        f"{source.name}: {place}\n"
        f"  {source.contents}\n"
        f"  {len(files)} files, {sum(file.size for file in files) / 1e6:.1f} MB, from {source.url}\n"
        f"  licence: {source.licence}\n"
        f"  cite: {source.citation}\n"
        f"  {source.derived}"
    )


if __name__ == "__main__":
    main()
