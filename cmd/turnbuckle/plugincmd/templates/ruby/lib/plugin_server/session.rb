# frozen_string_literal: true

module PluginServer
  # One stream of the native protocol. A thread reads frames, workers run calls, and the thread that gRPC gives the stream writes.
  class Session
    CREDIT = 128 # calls that a host may have outstanding on a stream
    MOST_BINDINGS = 65_536
    MOST_LINES = 16_384
    FRAME_FULL = 256 << 10 # a frame of this size is sent, and the next begun
    MOST_REPLY = MAX_MESSAGE - 64
    TICK = 0.02 # how late a deadline may be noticed, in seconds

    def initialize(plugin, workers, observers, requests)
      @plugin = plugin
      @workers = workers
      @observers = observers
      @bindings = {}
      @calls = {}
      @lock = Mutex.new
      @wake = Queue.new
      @replies = Queue.new
      @received = 0
      @reader = Thread.new { read(requests) }
      @clock = Thread.new { watch }
    end

    # Asks the host to send no more.
    def drain
      @drain = true
      @wake.push(true)
    end

    # Yields frames to be sent, until the stream ends.
    def frames
      Enumerator.new do |out|
        out << V1::PluginFrame.new(credit: CREDIT)
        loop do
          @wake.pop
          @wake.clear
          raise @error if @error

          over = @over && @lock.synchronize { @calls.empty? }
          flush(out)
          break if over && @replies.empty?
        end
      ensure
        abandon
      end
    end

    private

    def flush(out)
      loop do
        frame = V1::PluginFrame.new
        size = 0
        while size < FRAME_FULL && (reply = next_reply(size))
          frame.replies.push(reply.first)
          size += reply.last
        end
        received = @received
        frame.ack = @acked = received if received > (@acked || 0)
        frame.drain = @told = true if @drain && !@told
        return if frame.replies.empty? && frame.ack.zero? && !frame.drain

        out << frame
      end
    end

    # The next reply with its size, if the frame has room for it.
    def next_reply(size)
      @held ||= @replies.pop(true)
      return if size.positive? && size + @held.last > MOST_REPLY

      reply = @held
      @held = nil
      reply
    rescue ThreadError # there is none
      nil
    end

    def read(requests)
      requests.each { |frame| take(frame, PluginServer.now) }
    rescue Google::Protobuf::ParseError => e
      @error = GRPC::InvalidArgument.new("frame after #{@received}: #{e.message}")
    rescue GRPC::BadStatus => e
      @error = e
    rescue GRPC::Core::CallError
      @error = GRPC::Cancelled.new('the stream is gone')
    rescue StandardError => e
      @error = GRPC::Internal.new(PluginServer.plain(e.full_message))
    ensure
      @over = true
      @wake.push(true)
    end

    def take(frame, arrived)
      frame.bindings.each do |b|
        raise GRPC::ResourceExhausted, "more than #{MOST_BINDINGS} bindings on one stream" if @bindings.size >= MOST_BINDINGS && !@bindings.key?(b.id)

        @bindings[b.id] = b
      end
      frame.calls.each { |c| call(c, arrived) }
      @received = [@received, frame.seq].max
      frame.cancels.each { |id| stop(@lock.synchronize { @calls[id] }, :FAILURE_CODE_CANCELED, 'the host cancelled the call') }
      @observers.offer(frame) unless frame.records.empty? && frame.events.empty?
      @over ||= frame.drain
      @wake.push(true)
    end

    def call(call, arrived)
      raise GRPC::InvalidArgument, 'a call without id' if call.id.zero?

      binding = @bindings[call.binding]
      return refuse(call, :FAILURE_CODE_PROTOCOL, "binding #{call.binding} was not sent on this stream") unless binding
      return refuse(call, :FAILURE_CODE_PROTOCOL, "binding #{call.binding} names no hook") if binding.hooks.empty?
      return refuse(call, :FAILURE_CODE_PROTOCOL, "more than #{MOST_LINES} header lines") if [call.headers.size, call.response&.headers&.size || 0].max > MOST_LINES

      run = Run.new(@plugin, binding, call, arrived)
      taken = @lock.synchronize { @calls.size < CREDIT && (@calls[call.id] = run) }
      return refuse(call, :FAILURE_CODE_OVERLOADED, "more than #{CREDIT} calls outstanding on the stream") unless taken

      started = @workers.add do
        run.start
        done(run) if run.claim
      end
      done(run) if !started && run.stop(:FAILURE_CODE_OVERLOADED, 'hooks have not returned, of calls that nobody waits for')
    end

    def refuse(call, code, message)
      send(V1::Reply.new(id: call.id, failure: V1::Failure.new(code: code, message: message)))
    end

    def done(run)
      send(run.reply) { @calls.delete(run.id) }
    end

    def stop(run, code, message)
      done(run) if run&.stop(code, message)
    end

    def send(reply)
      size = V1::Reply.encode(reply).bytesize
      if size > MOST_REPLY
        failure = V1::Failure.new(code: :FAILURE_CODE_FAILED, message: "a reply of #{size} bytes, the server sends #{MOST_REPLY} at most")
        outcomes = reply.outcomes.map { |o| V1::HookOutcome.new(hook: o.hook, duration_us: o.duration_us) }
        reply = V1::Reply.new(id: reply.id, failure: failure, outcomes: outcomes)
        size = 4096
      end
      @lock.synchronize do
        @replies.push([reply, size + 8])
        yield if block_given?
      end
      @wake.push(true)
    end

    # Stops calls whose deadlines have passed.
    def watch
      until @finished
        sleep(TICK)
        now = PluginServer.now
        late = @lock.synchronize { @calls.values.select { |r| r.deadline && r.deadline < now } }
        late.each { |r| stop(r, :FAILURE_CODE_TIMEOUT, 'the deadline passed') }
      end
    end

    # The stream is gone: nobody hears what still runs.
    def abandon
      @finished = true
      @clock.join
      @lock.synchronize { @calls.values }.each { |r| r.stop(:FAILURE_CODE_CANCELED, 'the stream ended') }
    end
  end
end
