"""jobs.py enqueue N | idle N: Celery's two jobs and their producers."""

import os
import sys
import time

import celery

import tally

app = celery.Celery("jobs", broker=os.environ["REDIS_URL"])
# Nobody reads the results of these jobs, and storing them costs time.
app.conf.task_ignore_result = True
app.conf.broker_connection_retry_on_startup = True
done = tally.Tally()


@app.task(name="nothing")
def nothing():
    done.add(time.monotonic_ns())


@app.task(name="tell")
def tell():
    tally.tell_start(time.monotonic_ns())


def enqueue(jobs):
    # One connection for all, instead of one borrowed for each.
    with app.producer_pool.acquire(block=True) as producer:
        for _ in range(jobs):
            nothing.apply_async(producer=producer)


def main(verb, jobs):
    if verb == "enqueue":
        enqueue(jobs)
    else:
        tally.idle(jobs, tell.delay)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
