"""The law at length: permutations, kills, timelines, switches and seeds by the thousand, long worlds by the hundred, one process a core. It goes on where it was stopped, and writes a dated
table under docs/campaigns. `python -m tests.law.campaign --seeds 1000` does so many of them and no more."""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import platform
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import msgspec

from pipeline.model.episode import Ledger

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRESS = ROOT / "var" / "law-campaign.json"
SEEDS, PERMUTATIONS, KILLS, TIMELINES, SWITCHES, LONG = 100_000, 1_000, 1_000, 1_000, 1_000, 200
SEEDS_IN_PIECE = 160  # a world of two cells has so many in a row: no two processes play it
SAVE_EVERY_S = 10.0


class Part(msgspec.Struct):
    """Of one kind of trial: the pieces that are done, what failed, and what it took."""

    done: list[int] = []
    failed: list[str] = []
    happened: dict[str, int] = {}
    cpu_s: float = 0.0
    wall_s: float = 0.0


class Progress(msgspec.Struct):
    parts: dict[str, Part] = {}
    program: str = ""


@dataclass
class Piece:
    """What a process did."""

    number: int
    failed: list[str] = field(default_factory=list)
    happened: Counter[str] = field(default_factory=Counter)
    cpu_s: float = 0.0


# ---- the trials: each in a process of its own, by number -----------------------------------------------------------------


def seeds(number: int) -> Piece:
    """So many seeds in a row."""
    from tests.law.simulate import simulate

    piece = Piece(number)
    for seed in range(number * SEEDS_IN_PIECE, (number + 1) * SEEDS_IN_PIECE):
        outcome = simulate(seed)
        piece.happened += outcome.happened + Counter(seeds=1)
        if outcome.faults:
            piece.failed.append(f"seed {seed}: {outcome.faults[0]}")
    return piece


def permutation(number: int) -> Piece:
    """One order of a whole world of 24 cells, some of it twice."""
    from tests.law.test_worlds import differences, number_of, permuted

    found = differences(permuted(number), number_of(number))
    failed = [f"permutation {number}: {line}" for line in found[:1]]
    return Piece(number, failed, Counter(permutations=1, episodes=_episodes(number_of(number))))


def kills(number: int) -> Piece:
    """A whole world through engines that are killed, some ten times."""
    from tests.law.test_worlds import differences, killed, number_of

    workers = random.Random(number).choice((1, 3, 3))
    ledger, count = killed(number, workers)
    failed = [f"kills {number}: {line}" for line in differences(ledger, number_of(number))[:1]]
    return Piece(number, failed, Counter(kills=count, worlds=1))


def timeline(number: int) -> Piece:
    """A day under orders drawn at random, in another order of arrival."""
    from tests.law.timelines import trial

    return Piece(number, [f"timeline {number}: {line}" for line in trial(number)[:1]], Counter(timelines=1))


def switch(number: int) -> Piece:
    """A few minutes under plans that ask for other things, in another order of arrival."""
    from tests.law.switches import trial

    return Piece(number, [f"switch {number}: {line}" for line in trial(number)[:1]], Counter(switches=1))


def long_world(number: int) -> Piece:
    """Hours under a horizon of minutes, put off and with restarts."""
    from tests.law.long import trial

    return Piece(number, [f"long {number}: {line}" for line in trial(number)[:1]], Counter(long=1))


def _episodes(number: int) -> int:
    from tests.law.test_worlds import undisturbed

    ledger: Ledger = undisturbed(number)
    return len(ledger.episodes)


TRIALS: dict[str, Callable[[int], Piece]] = {
    "permutations": permutation,
    "kills": kills,
    "timelines": timeline,
    "switches": switch,
    "long": long_world,
    "seeds": seeds,
}


def _timed(job: tuple[str, int]) -> Piece:
    began = time.process_time()
    try:
        piece = TRIALS[job[0]](job[1])
    except Exception as error:  # whatever it is: it is kept, and the others go on
        piece = Piece(job[1], [f"{job[0]} {job[1]}: {type(error).__name__}: {error}"])
    piece.cpu_s = time.process_time() - began
    return piece


# ---- the campaign ------------------------------------------------------------------------------------------------------------


def program() -> str:
    """What was tried, and all that it imports: when any of it changes, what was done before counts for nothing."""
    for name in ("long", "simulate", "switches", "test_worlds", "timelines"):
        import_module(f"tests.law.{name}")
    paths = {Path(found) for m in list(sys.modules.values()) if (found := getattr(m, "__file__", None))}
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(p for p in paths if p.is_relative_to(ROOT) and ".venv" not in p.parts):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _load() -> Progress:
    now = program()
    try:
        progress = msgspec.json.decode(PROGRESS.read_bytes(), type=Progress)
    except FileNotFoundError:
        return Progress(program=now)
    if progress.program != now:
        print("the program has changed since: from the beginning", file=sys.stderr)
        return Progress(program=now)
    return progress


def _save(progress: Progress) -> None:
    PROGRESS.parent.mkdir(parents=True, exist_ok=True)
    new = PROGRESS.with_suffix(".new")
    new.write_bytes(msgspec.json.encode(progress))
    new.replace(PROGRESS)


def run(progress: Progress, kind: str, pieces: int, processes: int) -> Part:
    """Those of the first `pieces` that are not done yet."""
    part = progress.parts.setdefault(kind, Part())
    left = [(kind, n) for n in sorted(set(range(pieces)) - set(part.done))]
    began, saved = time.monotonic(), time.monotonic()
    before_s = part.wall_s
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for piece in pool.imap_unordered(_timed, left):
            part.done.append(piece.number)
            part.failed += piece.failed
            part.happened = dict(Counter(part.happened) + piece.happened)
            part.cpu_s += piece.cpu_s
            part.wall_s = before_s + time.monotonic() - began
            for failure in piece.failed:
                print(failure, file=sys.stderr, flush=True)
            if time.monotonic() - saved > SAVE_EVERY_S:
                _save(progress)
                saved = time.monotonic()
                print(f"{kind}: {len(part.done)} of {pieces}, {part.wall_s:.0f} s", file=sys.stderr, flush=True)
    _save(progress)
    return part


def rows(progress: Progress) -> Iterator[str]:
    """Lines of the table."""
    names = {
        "permutations": "orders of arrival of whole worlds, 24 cells, every rule live",
        "kills": "kills of owners, within and between checkpoints, one worker or three",
        "timelines": "days under orders drawn at random, in another order of arrival, half of them with kills",
        "switches": "switches to plans that ask for other things, late or early, in another order of arrival, half of them with kills",
        "long": "worlds of hours under a horizon of minutes, in order, put off, and with restarts",
        "seeds": "simulation seeds: stages on a log in memory, a crash at any await",
    }
    for kind, part in progress.parts.items():
        outcome = f"{len(part.failed)} FAILED" if part.failed else "passed"
        happened = "".join(f"{n:,} {what}, " for what, n in sorted(part.happened.items()) if what != kind)
        yield (
            f"| {part.happened.get(kind, 0):,} {names[kind]} | {outcome} | {happened}"
            f"{part.wall_s:.0f} s, {part.cpu_s:.0f} s of CPU |"
        )


def write_table(progress: Progress) -> Path:
    day = datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%d")  # noqa: TID251  # a dated table is the point
    target = ROOT / "docs" / "campaigns" / f"law-{day}.md"
    target.parent.mkdir(parents=True, exist_ok=True)
    failures = [f"- `{line[:300]}`" for part in progress.parts.values() for line in part.failed]
    lines = [
        f"# The law, {day}",
        "",
        f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}. "
        "`python -m tests.law.campaign`, a part of `make campaign`; the docstrings of `tests/law` say what is done to what.",
        "",
        "| what | outcome | figures |",
        "|---|---|---|",
        *rows(progress),
        *(["", *failures] if failures else []),
        "",
    ]
    target.write_text("\n".join(lines), encoding="utf-8")
    return target


def campaign(
    permutations: int,
    kill_count: int,
    timelines: int,
    switches: int,
    long_worlds: int,
    seed_count: int,
    processes: int,
    anew: bool = False,
) -> bool:
    """True when nothing failed. The rules are compiled before the processes start, or each would do so."""
    from tests.law.simulate import simulate
    from tests.law.test_worlds import KILLS_OF_WORLD

    # of the processes: sets of partitions in one order, so that a seed that fails does so again
    os.environ["PYTHONHASHSEED"] = "0"
    if anew:
        PROGRESS.unlink(missing_ok=True)
    simulate(1)
    progress = _load()
    wanted = {
        "permutations": permutations,
        "kills": -(-kill_count // KILLS_OF_WORLD),
        "timelines": timelines,
        "switches": switches,
        "long": long_worlds,
        "seeds": -(-seed_count // SEEDS_IN_PIECE),
    }
    for kind, pieces in wanted.items():
        if pieces:
            run(progress, kind, pieces, processes)
    print(write_table(progress).read_text(encoding="utf-8"))  # a person ran this
    return not any(part.failed for part in progress.parts.values())


def main() -> int:
    """0 when nothing failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--permutations", type=int, default=PERMUTATIONS)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--timelines", type=int, default=TIMELINES)
    parser.add_argument("--switches", type=int, default=SWITCHES)
    parser.add_argument("--long", type=int, default=LONG)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--anew", action="store_true", help="forget what was done before")
    given = parser.parse_args()
    wanted = given.permutations, given.kills, given.timelines, given.switches, given.long, given.seeds
    return 0 if campaign(*wanted, given.processes, given.anew) else 1


if __name__ == "__main__":
    sys.exit(main())
