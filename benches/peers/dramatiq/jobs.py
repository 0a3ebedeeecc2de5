"""jobs.py enqueue N | idle N: dramatiq's two jobs and their producers."""

import os
import sys
import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker

import tally

dramatiq.set_broker(RedisBroker(url=os.environ["REDIS_URL"]))
done = tally.Tally()


@dramatiq.actor
def nothing():
    done.add(time.monotonic_ns())


@dramatiq.actor
def tell():
    tally.tell_start(time.monotonic_ns())


def enqueue(jobs):
    for _ in range(jobs):
        nothing.send()


def main(verb, jobs):
    if verb == "enqueue":
        enqueue(jobs)
    else:
        tally.idle(jobs, tell.send)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
