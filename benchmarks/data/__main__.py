"""List or download the data sets.

``python -m benchmarks.data`` lists their sources and places. ``python -m benchmarks.data NAME ...`` downloads missing
ones.
"""

from __future__ import annotations

import argparse

from benchmarks.data import SOURCES, ChecksumError, DataMissingError, folder
from benchmarks.data.sources import Source


def main() -> None:
    """Parse the command line, then list or download."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.data", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="data sets to find or download")
    names = parser.parse_args().names
    try:
        for name in names:
            print(name, folder(name))
    except (ChecksumError, DataMissingError, ValueError) as error:
        raise SystemExit(str(error)) from error
    if not names:
        print("\n\n".join(describe(source) for source in SOURCES.values()))


def describe(source: Source) -> str:
    """Return contents, place, origin and licence of a data set as text."""
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
