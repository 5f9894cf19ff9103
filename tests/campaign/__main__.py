"""The campaigns in full, and the table of what was tried and survived.

python -m tests.campaign --kills=200 --folder=DIR
"""

import argparse
import collections
import logging
import time
from pathlib import Path

from tests.campaign import commands, conditions, damage, kills


def main() -> int:
    """Runs all; 1 if anything did not survive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--damage", type=float, default=1.0, help="share of all damages to try")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="kills,damage,conditions")
    parser.add_argument("--kinds", default="disk full,clock jumps,folder read-only")
    parser.add_argument("--commands", default=",".join(kills.MOMENTS), help="kills and conditions")
    chosen = parser.parse_args()
    for name in ("absl", "asyncio"):  # as the commands do
        logging.getLogger(name).setLevel(logging.CRITICAL)
    folder = chosen.folder.resolve()
    ground = kills.prepare(folder, chosen.commands.split(","))
    rows: dict[tuple[str, str], list[int]] = collections.defaultdict(lambda: [0, 0, 0])

    def count(kind, what, good, times, words):
        row = rows[kind, what]
        row[0] += 1
        row[1] += times
        row[2] += good
        if not good:
            print(f"NOT SURVIVED: {words}", flush=True)
        elif kind != "damaged" or row[0] % 10 == 0:
            print(f"{kind}, {what}: {row[2]} of {row[0]} survived, {row[1]} kills", flush=True)

    began = time.monotonic()
    if "kills" in chosen.only:
        (folder / "killed").mkdir(exist_ok=True)
        kills.run(
            ground, folder / "killed", chosen.kills, chosen.seed,
            lambda t: count("killed", f"{t.command}, {t.moment}", not t.why, t.kills, t),
        )  # fmt: skip
    if "damage" in chosen.only:
        interrupted = folder / "interrupted"
        for name in ("mode", "curve"):
            module, flags = commands.commands(interrupted, ground.modes)[name]
            commands.finish(module, flags, ground.cache, "metrics:4")
        damage.run(
            folder / "whole", interrupted, folder / "damaged", chosen.seed, chosen.damage,
            lambda t: count("damaged", t.file.split("/")[0], damage.is_good(t), 0, t),
        )  # fmt: skip
    if "conditions" in chosen.only:
        conditions.run(
            ground, folder / "conditions", chosen.kinds.split(","),
            lambda kind, t: count(kind, t.command, not t.why, 0, t),
        )  # fmt: skip
    print(f"\n{time.monotonic() - began:.0f} s\n")
    print("| fault | where | trials | kills | survived |\n|---|---|---|---|---|")
    for (kind, what), (tried, times, good) in sorted(rows.items()):
        print(f"| {kind} | {what} | {tried} | {times or ''} | {good} |")
    tried, times, good = (sum(row[i] for row in rows.values()) for i in range(3))
    print(f"| all | | {tried} | {times} | {good} |")
    return int(good < tried)


raise SystemExit(main())
