"""A program that reads mutated files of one format: ``python mutants.py NAME FILES SEED``.

It prints how many became a table and how many a message, the longest time and the growth of memory. It exits with 1
when reading ends in any other way. A crash shows as a negative exit status, which the test that runs this looks for.
"""

from __future__ import annotations

import random
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

from segcrf import InputError
from segcrf.data import read_recordings

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "data"))
from messy_files import MESSY

SLOWEST, MOST_MEMORY = 20.0, 1 << 30
PIECES = [b"\0", b"\n", b"\r", b'"', b",", b";", b".", b"-", b"1e999", b"nan", b"\xff\xfe", b"PK\x03\x04", b"9" * 30]


def mutated(content: bytes, rng: random.Random) -> bytes:
    """The bytes of a file with one to four changes."""
    found = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at, end = (rng.randrange(len(found) + 1) for _ in range(2))
        # The head of a file holds most that can go wrong.
        at = at if rng.random() < 0.5 else min(at, rng.randrange(600))
        kind = rng.randrange(6)
        if kind == 0 and found:
            found[min(at, len(found) - 1)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del found[max(at, len(found) // 8) :]
        elif kind == 2:
            del found[min(at, end) : min(at, end) + rng.randrange(1, 50)]
        elif kind == 3:
            found[at:at] = rng.choice(PIECES)
        elif kind == 4:
            found[at:at] = found[min(at, end) : min(at, end) + rng.randrange(1, 200)]
        else:
            found[at : at + 4] = rng.randbytes(4)
    return bytes(found)


def main(name: str, count: int, seed: int) -> None:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, place = Path(folder) / "whole", Path(folder) / "mutant"
        whole.mkdir()
        path = MESSY[name].write(whole)
        read_recordings(path)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        files = sorted(each for each in whole.rglob("*") if each.is_file())
        outcomes, slowest = {"table": 0, "message": 0}, 0.0
        for number in range(count):
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(whole, place)
            changed = rng.choice(files)
            content = mutated(changed.read_bytes(), rng)
            (place / changed.relative_to(whole)).write_bytes(content)
            start = time.monotonic()
            try:
                read_recordings(place / path.relative_to(whole))
                outcomes["table"] += 1
            except (InputError, FileNotFoundError):
                outcomes["message"] += 1
            except BaseException:
                print(f"mutant {number} of seed {seed}", file=sys.stderr)
                raise
            slowest = max(slowest, time.monotonic() - start)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    print(outcomes, f"slowest {slowest:.2f} s, memory grew by {grown / 2**20:.0f} MiB")
    if slowest > SLOWEST or grown > MOST_MEMORY:
        raise SystemExit(1)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
