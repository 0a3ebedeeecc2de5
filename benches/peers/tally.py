"""What the two peers in Python share: counting jobs, and timing single ones."""

import os
import random
import threading
import time

REPORT_SECONDS = 0.05


class Tally:
    """What this process has done, told to the script that waits for the end.

    It opens the pipe and starts its thread with the first job, which is after every fork.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._first = self._last = None
        self._count = 0

    def add(self, started):
        with self._lock:
            if self._first is None:
                self._first = started
                threading.Thread(target=self._report, daemon=True).start()
            self._count += 1
            self._last = time.monotonic_ns()

    def _report(self):
        reported = 0
        with open(os.environ["PEERS_COUNTS"], "w", encoding="ascii") as pipe:
            while True:
                time.sleep(REPORT_SECONDS)
                with self._lock:
                    first, last, count = self._first, self._last, self._count
                if count != reported:
                    print(os.getpid(), first, last, count, file=pipe, flush=True)
                    reported = count


def tell_start(started):
    """Told by the job of an idle queue."""
    with open(os.environ["PEERS_STARTS"], "w", encoding="ascii") as pipe:
        print(started, file=pipe)


def idle(jobs, send):
    """Sends jobs one at a time and prints the nanoseconds from enqueue to start of each."""
    with open(os.environ["PEERS_STARTS"], encoding="ascii") as starts:
        for _ in range(jobs):
            # Long enough for the worker to be waiting again, uneven so as not to march in step.
            time.sleep(random.uniform(0.010, 0.030))
            enqueued = time.monotonic_ns()
            send()
            print(int(starts.readline()) - enqueued)
