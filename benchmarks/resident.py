"""What a process takes that has nothing but moderato in it: `python -m benchmarks.resident POLICY DATA`, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.pictures import jpeg
from moderato.assemble import Workshop
from moderato.settings import Settings

ROWS = 8
PICTURES = 200
_SIZE = (640, 480)
_FILES = 16


def main() -> None:
    """Open a policy, judge, and tell what that took."""
    policy, data = sys.argv[1:]
    taken = {"imported": resident()["resident"]}
    moderator = Workshop(Settings(data=Path(data), rows=ROWS)).moderator(policy)
    moderator.warm_up()
    taken |= {"opened": resident()["resident"]}
    files = [jpeg(_SIZE, seed) for seed in range(_FILES)]
    verdicts = moderator.check_many(files[number % _FILES] for number in range(PICTURES))
    assert not any(verdict.unscannable for verdict in verdicts)
    taken |= {f"after {PICTURES} pictures": resident()["resident"], "peak": resident()["peak"]}
    print(json.dumps(taken))


def resident(process: int | str = "self") -> dict[str, int]:
    """MB of a process now, and at most so far."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) // 1024 for line in lines if line.startswith("Vm")}
    return {"resident": sizes["VmRSS"], "peak": sizes["VmHWM"]}


if __name__ == "__main__":
    main()
