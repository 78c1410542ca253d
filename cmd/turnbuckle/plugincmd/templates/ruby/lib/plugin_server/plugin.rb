# frozen_string_literal: true

module PluginServer
  # A plugin: its hooks and observers.
  #
  #   plugin = PluginServer::Plugin.new('greeter', '1.0.0')
  #   plugin.hook('Greet', phase: :pre, needs: [:headers]) { |x| x.request.headers['X-Greeting'] = 'hello' }
  #   plugin.serve(ARGV)
  class Plugin
    Hook = Struct.new(:name, :phase, :needs, :run)
    attr_reader :name, :version, :observers

    def initialize(name, version, config_schema: nil)
      @name = name
      @version = version
      @config_schema = config_schema
      @hooks = {}
      @observers = {}
    end

    # Adds a hook, which is called with an Exchange, in many threads at once. Without a phase it is for any; needs lists what it wants
    # to be sent (see NEEDS), headers narrows the header lines to some names, body_limit is the longest body it takes.
    def hook(name, phase: nil, needs: nil, headers: [], body_limit: 0, &run)
      fields = needs ? bits(needs) : DEFAULT_NEEDS
      number = phase ? PHASES.index(phase) || raise(ArgumentError, "unknown phase #{phase}") : 0
      @hooks[[name, number]] = Hook.new(name, number, V1::Needs.new(fields: fields, header_names: headers, body_limit: body_limit), run)
    end

    # Adds an observer, which is called with lists of records and events, in a thread of its own.
    def observer(name, &run)
      @observers[name] = run
    end

    def find(name, phase)
      @hooks[[name, PluginServer.number(phase)]] || @hooks[[name, 0]]
    end

    # Runs a hook with no gateway. call has the fields of the message Call; the Run says what came of it.
    def try(name, phase:, config: nil, **call)
      binding = V1::Binding.new(id: 1, phase: PHASES.index(phase), hooks: [V1::HookUse.new(name: name, config: config ? JSON.generate(config) : '')])
      fields = { id: 1, binding: 1, method: 'GET', path: '/', scheme: 'http', host: 'example.test', client: '127.0.0.1:54321' }
      run = Run.new(self, binding, V1::Call.new(**fields, **call), PluginServer.now)
      run.start
      run
    end

    # What Describe replies.
    def describe(frame_bytes)
      hooks = @hooks.values.map { |h| V1::Hook.new(name: h.name, phase: h.phase, needs: h.needs) }
      V1::DescribeReply.new(
        name: @name, version: @version, hooks: hooks, observers: @observers.keys, limits: V1::Limits.new(frame_bytes: frame_bytes),
        config_schema: @config_schema ? JSON.generate(@config_schema) : ''
      )
    end

    # Serves until SIGTERM or SIGINT.
    def serve(args) = Server.new(self).serve(args)

    private

    def bits(needs)
      needs = [:nothing] if needs.empty?
      needs.inject(0) do |sum, need|
        next sum | DEFAULT_NEEDS if need == :default

        sum | (1 << (NEEDS.index(need) || raise(ArgumentError, "unknown need #{need}")))
      end
    end
  end
end
