# frozen_string_literal: true

require 'grpc/health/checker'
require 'optparse'

module PluginServer
  # Threads that run hooks: as many as there are calls, within a bound. A hook that waits holds no other.
  class Workers
    def initialize(most)
      @most = most
      @jobs = Queue.new
      @lock = Mutex.new
      @threads = 0
      @busy = 0
    end

    # Runs a block. It reports whether there is a thread for it.
    def add(&job)
      @lock.synchronize do
        return false if @busy >= @most

        @busy += 1
        if @busy > @threads
          @threads += 1
          Thread.new { work }
        end
      end
      @jobs.push(job)
      true
    end

    private

    def work
      loop do
        @jobs.pop.call
      rescue StandardError => e
        warn "plugin server: #{e.full_message}"
      ensure
        @lock.synchronize { @busy -= 1 }
      end
    end
  end

  # Hands records and events to the plugin's observers, one batch at a time to each. What one cannot keep up with is dropped.
  class Observers
    MOST = 1024 # batches that wait for one observer

    def initialize(observers)
      @queues = observers.transform_values { SizedQueue.new(MOST) }
      observers.each { |name, run| Thread.new { observe(name, run) } }
    end

    def offer(frame)
      @queues.each do |name, queue|
        queue.push([frame.records, frame.events], true) if frame.observers.empty? || frame.observers.include?(name)
      rescue ThreadError
        @dropped = (@dropped || 0) + 1
        warn "observer #{name} is slow: #{@dropped} batches were dropped" if @dropped.to_s.match?(/\A10*\z/)
      end
    end

    private

    def observe(name, run)
      loop do
        run.call(*@queues[name].pop)
      rescue StandardError => e
        warn "observer #{name}: #{e.full_message}"
      end
    end
  end

  # A server of one plugin.
  class Server
    STREAMS = 64 # of all hosts
    HANDOVER = 0.5 # seconds that hosts have to find a server that has taken the address over
    DRAIN = 10 # seconds that calls may take to finish

    def initialize(plugin)
      @plugin = plugin
      @sessions = []
      @lock = Mutex.new
    end

    def serve(args)
      address = listen_address(args)
      server = GRPC::RpcServer.new(pool_size: STREAMS + 8, poll_period: DRAIN, server_args: {
        'grpc.max_receive_message_length' => MAX_MESSAGE, 'grpc.http2.min_ping_interval_without_data_ms' => 4000, 'grpc.keepalive_permit_without_calls' => 1
      })
      health = Grpc::Health::Checker.new
      ['', 'turnbuckle.plugin.v1.Plugin'].each { |s| health.add_status(s, Grpc::Health::V1::HealthCheckResponse::ServingStatus::SERVING) }
      server.handle(service)
      server.handle(health)
      old = File.umask(0o177) # a socket is for who runs the server
      port = server.add_http2_port(address, :this_port_is_insecure)
      File.umask(old)
      run(server, address.sub(/:0\z/, ":#{port}"))
    end

    # A stream of calls.
    def session(workers, observers, requests)
      one = Session.new(@plugin, workers, observers, requests)
      @lock.synchronize { @sessions.push(one) }
      one.drain if @draining
      Enumerator.new do |out|
        one.frames.each { |f| out << f }
      ensure
        @lock.synchronize { @sessions.delete(one) }
      end
    end

    private

    def run(server, address)
      stop = Queue.new
      %w[TERM INT].each { |signal| trap(signal) { stop.push(signal) } }
      stopper = Thread.new do
        stop.pop
        drain = Thread.new do
          sleep(HANDOVER)
          @draining = true
          @lock.synchronize { @sessions.dup }.each(&:drain)
        end
        server.stop # listens no more, sends GOAWAY, and waits for the streams
        drain.kill
      end
      serving = Thread.new { server.run }
      server.wait_till_running
      $stdout.puts "listening on #{address}"
      $stdout.flush
      serving.join
      stopper.join
    end

    def listen_address(args)
      address = ENV['TURNBUCKLE_LISTEN'] || ENV.fetch('TURNBUCKLE_PLUGIN_LISTEN', nil)
      OptionParser.new { |o| o.on('--listen ADDRESS', 'unix:PATH or HOST:PORT (else TURNBUCKLE_LISTEN)') { |a| address = a } }.parse!(args)
      abort 'no address to listen on: give --listen or set TURNBUCKLE_LISTEN' unless address
      path = address[/\Aunix:(.*)/, 1]
      File.delete(path) if path && File.socket?(path) # of one that ran before
      address.delete_prefix('tcp://')
    end

    # The service that gRPC calls.
    def service
      server = self
      plugin = @plugin
      workers = Workers.new(STREAMS * Session::CREDIT)
      observers = Observers.new(plugin.observers)
      Class.new(V1::Plugin::Service) do
        define_method(:describe) { |_request, _call| plugin.describe(MAX_MESSAGE) }
        define_method(:session) { |requests, _call| server.session(workers, observers, requests) }
      end.new
    end
  end
end
