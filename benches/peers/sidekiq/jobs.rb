# frozen_string_literal: true

# jobs.rb work | enqueue N | idle N: a Sidekiq worker and its two producers.

require "sidekiq"

# This Sidekiq calls this client in a way that the client warns about, at every job.
Redis.sadd_returns_boolean = false

CONCURRENCY = 10
BULK = 1000
REPORT_SECONDS = 0.05

def now
  Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond)
end

# What this process has done, told to the script that waits for the end.
class Tally
  def initialize
    @lock = Mutex.new
    @count = 0
  end

  def add(started)
    @lock.synchronize do
      @first ||= started
      @count += 1
      @last = now
    end
  end

  def report_to(path)
    pipe = File.open(path, "w")
    reported = 0
    loop do
      sleep REPORT_SECONDS
      first, last, count = @lock.synchronize { [@first, @last, @count] }
      next if count == reported

      pipe.syswrite("#{Process.pid} #{first} #{last} #{count}\n")
      reported = count
    end
  end
end

TALLY = Tally.new

class Nothing
  include Sidekiq::Worker

  def perform
    TALLY.add(now)
  end
end

class Tell
  include Sidekiq::Worker

  STARTS = File.open(ENV.fetch("PEERS_STARTS"), "w")

  def perform
    STARTS.syswrite("#{now}\n")
  end
end

def work
  require "sidekiq/cli"
  # Two log lines a job would be measured otherwise.
  Sidekiq.logger.level = Logger::WARN
  Thread.new { TALLY.report_to(ENV.fetch("PEERS_COUNTS")) }
  cli = Sidekiq::CLI.instance
  cli.parse(["--require", File.expand_path(__FILE__), "--concurrency", CONCURRENCY.to_s])
  cli.run
end

def enqueue(jobs)
  Array.new(jobs) { [] }.each_slice(BULK) do |arguments|
    Sidekiq::Client.push_bulk("class" => Nothing, "args" => arguments)
  end
end

def idle(jobs)
  starts = File.open(ENV.fetch("PEERS_STARTS"), "r+")
  jobs.times do
    # Long enough for the worker to be waiting again, uneven so as not to march in step with it.
    sleep(0.010 + rand * 0.020)
    enqueued = now
    Tell.perform_async
    puts Integer(starts.gets) - enqueued
  end
end

if $PROGRAM_NAME == __FILE__
  verb, jobs = ARGV
  case verb
  when "work" then work
  when "enqueue" then enqueue(Integer(jobs))
  when "idle" then idle(Integer(jobs))
  end
end
