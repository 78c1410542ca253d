# frozen_string_literal: true

module PluginServer
  # Whether anybody still waits for a call.
  class Ended
    def initialize
      @lock = Mutex.new
      @changed = ConditionVariable.new
    end

    def now(failure)
      @lock.synchronize do
        @failure ||= failure
        @changed.broadcast
      end
    end

    def wait(seconds)
      till = PluginServer.now + seconds * 1e6
      @lock.synchronize do
        while @failure.nil? && (left = till - PluginServer.now).positive?
          @changed.wait(@lock, left / 1e6)
        end
        raise @failure if @failure
      end
    end
  end

  # Microseconds of a clock that is never set.
  def self.now = Process.clock_gettime(Process::CLOCK_MONOTONIC, :microsecond)

  # A call of the hooks of a binding, under way or done.
  class Run
    attr_reader :id, :exchange, :effects, :error, :arrived, :deadline

    def initialize(plugin, binding, call, arrived)
      @plugin = plugin
      @binding = binding
      @id = call.id
      @arrived = arrived
      @deadline = arrived + [call.timeout_us, 86_400_000_000].min if call.timeout_us.positive?
      @ended = Ended.new
      @exchange = Exchange.new(binding, call, @ended)
      @effects = V1::Effects.new
      @outcomes = []
      @lock = Mutex.new
      @index = 0
      @queued = 0
    end

    # Runs the hooks, unless it was stopped before.
    def start
      @queued = PluginServer.now - @arrived
      @binding.hooks.each_with_index do |use, index|
        @lock.synchronize do
          return if @stopped

          @index = index
          @began = PluginServer.now
          @exchange.begin_hook(index, use.config)
        end
        break unless hook(use)
      end
    end

    # Ends it from outside: what its hook does from here on, nobody hears. Returns whether it was under way.
    def stop(code, message)
      failure = Failure.new(code, message)
      @lock.synchronize do
        return false if @stopped

        @stopped = true
        @error = failure
        outcome(0) if @began
      end
      @ended.now(failure)
      true
    end

    # Takes the right to reply: only one gets it, who runs it or who stops it.
    def claim = @lock.synchronize { @stopped ? false : (@stopped = true) }

    def reply
      made = V1::Reply.new(id: @id, outcomes: @outcomes, logs: @exchange.logs.dup, counters: @exchange.counters.dup, queued_us: @queued)
      made.effects = @effects unless @effects == V1::Effects.new
      case @error
      when Refusal then made.error = V1::Error.new(status: @error.status, message: PluginServer.plain(@error.message), headers: @error.headers)
      when Failure then made.failure = V1::Failure.new(code: @error.code, message: @error.message)
      end
      made
    end

    private

    # Runs one hook and reports whether the next is to run.
    def hook(use)
      found = @plugin.find(use.name, @binding.phase)
      raise Failure.new(:FAILURE_CODE_UNIMPLEMENTED, "plugin #{@plugin.name} has no hook #{use.name} in phase #{@exchange.phase}") unless found

      found.run.call(@exchange)
      raise @exchange.invalid if @exchange.invalid

      @lock.synchronize do
        outcome(@exchange.merge(@effects)) unless @stopped
      end
      !@exchange.answered? || @exchange.phase == :response
    rescue Exception => e # rubocop:disable Lint/RescueException -- hooks may raise anything
      @lock.synchronize { failed(e) unless @stopped }
      false
    end

    def failed(error)
      @error = [Refusal, Failure].include?(error.class) ? error : Failure.new(:FAILURE_CODE_FAILED, PluginServer.plain("#{error.class}: #{error.message}"))
      outcome(0)
    end

    def outcome(changed)
      @outcomes.push(V1::HookOutcome.new(hook: @index, duration_us: PluginServer.now - @began, changed: changed))
    end
  end
end
