// jobs.js work | enqueue N | idle N: a BullMQ worker and its two producers.
'use strict';

const fs = require('node:fs');
const { setTimeout: pause } = require('node:timers/promises');
const { Queue, Worker } = require('bullmq');

const QUEUE = 'peers';
const CONCURRENCY = 100;
const BULK = 1000;
const REPORT_MS = 50;
const connection = { url: process.env.REDIS_URL, maxRetriesPerRequest: null };
// Finished jobs are removed, as its guide advises for production; keeping them costs time.
const options = { removeOnComplete: true };

const now = () => process.hrtime.bigint();

function work() {
  const counts = fs.openSync(process.env.PEERS_COUNTS, 'w');
  const starts = fs.openSync(process.env.PEERS_STARTS, 'w');
  let first;
  let last;
  let count = 0;
  let reported = 0;
  const handle = async (job) => {
    const started = now();
    if (job.name === 'tell') {
      fs.writeSync(starts, `${started}\n`);
      return;
    }
    first ??= started;
    count += 1;
    last = now();
  };
  setInterval(() => {
    if (count === reported) return;
    fs.writeSync(counts, `${process.pid} ${first} ${last} ${count}\n`);
    reported = count;
  }, REPORT_MS);
  const worker = new Worker(QUEUE, handle, { connection, concurrency: CONCURRENCY });
  worker.on('error', (error) => console.error(error));
  process.once('SIGTERM', async () => {
    await worker.close();
    process.exit(0);
  });
}

async function enqueue(queue, jobs) {
  for (let sent = 0; sent < jobs; sent += BULK) {
    const length = Math.min(BULK, jobs - sent);
    await queue.addBulk(Array.from({ length }, () => ({ name: 'nothing', data: {}, opts: options })));
  }
}

async function idle(queue, jobs) {
  const starts = fs.openSync(process.env.PEERS_STARTS, 'r+');
  const line = Buffer.alloc(64);
  for (let sent = 0; sent < jobs; sent += 1) {
    // Long enough for the worker to be waiting again, uneven so as not to march in step with it.
    await pause(10 + Math.random() * 20);
    const enqueued = now();
    await queue.add('tell', {}, options);
    const length = fs.readSync(starts, line);
    console.log(String(BigInt(line.toString('utf8', 0, length).trim()) - enqueued));
  }
}

async function main([verb, jobs]) {
  if (verb === 'work') return work();
  const queue = new Queue(QUEUE, { connection });
  await { enqueue, idle }[verb](queue, Number(jobs));
  await queue.close();
}

main(process.argv.slice(2));
