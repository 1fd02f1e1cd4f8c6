"""Faults over the annotation store: kills, many workers, flipped bits, writers beside an import."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from annotation_store.incoming.values import ImportRow
from annotation_store.reading.media import damaged_media, media_path
from annotation_store.review.progress import left
from annotation_store.store import AnnotationStore
from core.errors import MediaDamaged
from core.media.limits import MediaLimits
from core.media.store import MediaStore
from core.media.video import VideoReader
from core.types import MediaRef, Sample
from tests.review import bring, open_store
from tests.soak import store_workers
from tests.soak.found import Found, check_store
from tests.soak.store_workers import WHY, add_item, decide_all, import_along, review_until_killed, said_in, write_along

Tell = Callable[[int], None]


def _silent(done: int) -> None:
    """No progress is shown."""


class Processes:
    """Processes that start quickly: forked from a server that has imported everything and opened nothing."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([store_workers.__name__])

    def start(self, work: Callable[..., None], *arguments: object) -> BaseProcess:
        """Run a function of `store_workers`."""
        process = self._context.Process(target=work, args=arguments, daemon=True)
        process.start()
        return process


# -- kill -9 ----------------------------------------------------------------------------------------------------------


def kills(count: int, folder: Path, tell: Tell = _silent, *, workers: int = 3, seed: int = 1) -> Found:
    """Kill one of several reviewing processes, so many times, each at a random moment, and start another in its place.

    After every kill all that was acknowledged is looked for, and every tenth time (and at the end) the whole database
    is checked while the others go on.
    """
    found, dice, processes = Found(), random.Random(seed), Processes()
    database = folder / "guardroom.db"
    with open_store(database) as store:
        for number in range(20):
            add_item(store, f"first {number}")
        running: list[tuple[BaseProcess, Path]] = []

        def begin(number: int) -> None:
            said = folder / f"said-{number}"
            arguments = (database, said, f"reviewer {number}", number)
            running.append((processes.start(review_until_killed, *arguments), said))

        for number in range(workers):
            begin(number)
        try:
            for number in range(count):
                process, said = running.pop(dice.randrange(len(running)))
                _wait_for(said, process, lines=dice.randint(1, 30))
                time.sleep(dice.uniform(0.0, 0.02))
                process.kill()
                process.join()
                begin(workers + number)
                _look_for(store, said_in(said), found)
                if number % 10 == 9:
                    check_store(store, found, f"after {number + 1} kills")
                tell(number + 1)
        finally:
            for process, said in running:
                process.kill()
                process.join()
                _look_for(store, said_in(said), found)
        found.counts["kills"] = count
        check_store(store, found, "at the end")
    return found


def _wait_for(said: Path, process: BaseProcess, lines: int) -> None:
    """So far a worker has come; what it does then lasts milliseconds, so the moment of the kill is any moment in it."""
    deadline = time.monotonic() + 120
    while len(said_in(said)) < lines:
        if not process.is_alive() or time.monotonic() > deadline:
            raise RuntimeError(f"a worker did not go on; its exit status is {process.exitcode}")
        time.sleep(0.002)


def _look_for(store: AnnotationStore, said: list[list[str]], found: Found) -> None:
    """Every acknowledged event, and label where there is one, is in the store."""
    events = [words for words in said if words[0] in ("label", "event")]
    with store.reading("Looking") as connection:
        for words in events:
            row = connection.exec_driver_sql(
                "SELECT l.id FROM events e LEFT JOIN labels l ON l.key = e.label_key WHERE e.id = ?", (words[1],)
            ).one_or_none()
            found.must(row is not None, f"The acknowledged event {words[1]} is lost.")
            if row is not None and words[0] == "label":
                found.must(row[0] == words[2], f"The acknowledged label {words[2]} is lost.")
                found.counts["acknowledged decisions"] += 1
    found.counts["acknowledged events"] += len(events)


# -- many workers -----------------------------------------------------------------------------------------------------


def workers(items: int, count: int, folder: Path, *, lost: float = 0.05) -> Found:
    """So many processes decide so many items between them, letting a share of their leases run out."""
    found, processes = Found(), Processes()
    database = folder / "guardroom.db"
    samples = [Sample(f"request {number}") for number in range(items)]
    with open_store(database) as store:
        bring(store, [ImportRow(number, each, reasons=(WHY,)) for number, each in enumerate(samples, start=1)])
        files = [folder / f"said-{number}" for number in range(count)]
        running = [
            processes.start(decide_all, database, said, f"reviewer {number}", lost) for number, said in enumerate(files)
        ]
        for number, process in enumerate(running):
            process.join()
            found.must(process.exitcode == 0, f"Worker {number} ended with {process.exitcode}.")
        said = [words for path in files for words in said_in(path)]
        decided = Counter(words[1] for words in said if words[0] == "decided")
        expired = {words[1] for words in said if words[0] == "expired"}
        found.counts.update(words[0] for words in said if words[0] in ("refused", "taken", "decided", "expired"))
        twice = [each for each, times in decided.items() if times > 1]
        found.must(not twice, f"{len(twice)} items were decided twice.")
        found.must(len(decided) == items, f"{len(decided)} of {items} items were decided.")
        found.must(expired <= set(decided), f"{len(expired - set(decided))} expired leases did not come back.")
        found.must(not found.counts["taken"], f"{found.counts['taken']} stale tokens were taken.")
        found.must(not lost or expired, "No lease was let run out.")
        with store.reading("Counting") as connection:
            rows = connection.exec_driver_sql("SELECT count(*), count(DISTINCT sample_key) FROM labels").one()
        found.must(tuple(rows) == (items, items), f"{rows[0]} labels on {rows[1]} samples are stored.")
        found.must(left(store).total == 0, f"{left(store).total} items are left.")
        check_store(store, found, "after all were decided")
    return found


# -- flipped bits -----------------------------------------------------------------------------------------------------


def flipped_bits(count: int, folder: Path, *, seed: int = 1) -> Found:
    """Flip a random bit in so many stored pictures: reading and serving them must notice, each time."""
    from starlette.applications import Starlette
    from starlette.testclient import TestClient

    from app.shared.media_addresses import MediaAddresses
    from app.shared.media_route import serve

    found, dice = Found(), random.Random(seed)
    limits = MediaLimits()
    files = MediaStore(folder / "media", limits, VideoReader(limits))
    with open_store(folder / "guardroom.db") as store:
        addresses, web = MediaAddresses(), Starlette()
        services: Any = SimpleNamespace(addresses=addresses, store=lambda: store, media=files)
        serve(web, services)
        client = TestClient(web)
        for number in range(count):
            ref = _picture(files, folder, number)
            sample = Sample(f"picture {number}", media=(ref,))
            bring(store, [ImportRow(number, sample)])
            path = media_path(store, files, ref.digest)
            whole = path.read_bytes()
            url = "/" + addresses.of(ref)
            found.must(client.get(url).content == whole, f"Picture {number} is not served as it is.")
            changed = bytearray(whole)
            changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
            path.write_bytes(changed)
            try:
                media_path(store, files, ref.digest)
                found.must(False, f"A flipped bit in picture {number} was not noticed.")
            except MediaDamaged:
                found.counts["noticed"] += 1
            answer = client.get(url)
            found.must(answer.status_code == 410, f"Picture {number} is answered with {answer.status_code}.")
            found.must(bytes(changed) not in answer.content, f"The damaged picture {number} was served.")
            found.must(sample.id in damaged_media(store).get(ref.digest, ()), f"Picture {number} is not listed.")
        found.counts["flipped"] = count
    return found


def _picture(files: MediaStore, folder: Path, number: int) -> MediaRef:
    noise = np.random.default_rng(number).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    path = folder / "picture.png"
    Image.fromarray(noise).save(path)
    return files.accept(path)


# -- writers beside an import -----------------------------------------------------------------------------------------


def writers(count: int, times: int, rows: int, folder: Path) -> Found:
    """So many writing processes and one import at once: none is locked out."""
    found, processes = Found(), Processes()
    database = folder / "guardroom.db"
    open_store(database).close()
    files = [folder / f"said-{number}" for number in range(count + 1)]
    running = [
        processes.start(write_along, database, said, f"writer {number}", times)
        for number, said in enumerate(files[:-1])
    ]
    running.append(processes.start(import_along, database, files[-1], rows))
    for number, process in enumerate(running):
        process.join()
        found.must(process.exitcode == 0, f"Writer {number} ended with {process.exitcode}.")
    said = [words for path in files for words in said_in(path)]
    found.counts.update(words[0] for words in said if words[0] in ("written", "failed"))
    found.counts["imported rows"] = sum(int(words[1]) for words in said if words[0] == "imported")
    found.wrong += [" ".join(words[1:]) for words in said if words[0] == "failed"]
    found.must(found.counts["written"] == count * times, f"{found.counts['written']} of {count * times} were written.")
    found.must(found.counts["imported rows"] == rows, f"{found.counts['imported rows']} of {rows} rows came in.")
    with open_store(database) as store:
        found.must(store.counts().samples == count * times + rows, f"{store.counts().samples} samples are stored.")
        check_store(store, found, "after all had written")
    return found
