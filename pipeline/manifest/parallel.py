"""Reading the files of one manifest, several at a time, in bounded memory."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

FILES_AT_ONCE = 8
_TABLES_WAITING = 4
_LOOK_EVERY_S = 0.1


def read_files(files: Sequence[str], tables_of: Callable[[str], Iterator[pa.Table]]) -> Iterator[tuple[int, pa.Table]]:
    """The tables of all files, each with the index of its file; those of one file in their order.

    Args:
        files: URLs.
        tables_of: Reads one of them.

    Raises:
        Exception: What ``tables_of`` raised first.
    """
    waiting: queue.Queue[tuple[int, pa.Table | None]] = queue.Queue(_TABLES_WAITING)
    over = threading.Event()

    def hand_over(index: int, table: pa.Table | None) -> bool:
        while not over.is_set():
            try:
                waiting.put((index, table), timeout=_LOOK_EVERY_S)
            except queue.Full:
                continue
            return True
        return False

    def read(index: int) -> None:
        try:
            if not over.is_set() and all(hand_over(index, table) for table in tables_of(files[index])):
                return
        finally:
            hand_over(index, None)

    with ThreadPoolExecutor(min(FILES_AT_ONCE, len(files)), thread_name_prefix="manifest") as pool:
        reads = [pool.submit(read, index) for index in range(len(files))]
        try:
            for _ in files:
                while (item := waiting.get())[1] is not None:
                    yield item[0], item[1]
                reads[item[0]].result()  # raises what went wrong
        finally:
            over.set()
