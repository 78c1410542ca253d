# frozen_string_literal: true

module PluginServer
  # The bits of HookOutcome.changed.
  CHANGED = { method: 1, path: 2, query: 4, header: 8, body: 16, session: 32, values: 64, status: 128, response_header: 256, response_body: 512, answer: 1024 }.freeze

  # The request as the hooks before left it. Changes are noted for the gateway.
  class Request
    attr_reader :method, :path, :query, :headers, :uri, :scheme, :host, :proto, :length

    def initialize(call, broken)
      @broken = broken
      @method, @path, @scheme, @host, @proto = [call['method'], call.path, call.scheme, call.host, call.proto].map { |b| PluginServer.text(b) }
      @query = Query.new(PluginServer.text(call.query), broken)
      @headers = Headers.new(call.headers, broken)
      @body = call.body if call.has_body?
      @length = @body ? @body.bytesize : call.length
      @uri = call.uri.empty? ? [@path, @query.raw].reject(&:empty?).join('?') : PluginServer.text(call.uri)
      @changes = {}
    end

    def method=(text)
      return @broken.call("method #{text.inspect}: want a token (RFC 9110 9.1)") unless Headers::TOKEN.match?(text)

      @method = @changes[:method] = text
    end

    # The path has its escapes as they came, and the listen path in it.
    def path=(text)
      return @broken.call("path #{text.inspect}: it begins with a slash; blanks, ? and # are escaped") unless %r{\A/(?:[^\x00-\x20\x7f?#%]|%\h\h)*\z}.match?(text)

      @path = @changes[:path] = text
    end

    # Its bytes; nil when it was not sent, which is so unless the hook needs :body.
    attr_reader :body

    def body=(bytes)
      @body = @changes[:body] = bytes.to_s.b
      @length = @body.bytesize
    end

    # Adds what changed to effects and returns its bits.
    def merge(effects)
      @changes[:query] = @query.raw if @query.take
      @changes.each { |name, value| effects[name.to_s] = value.b }
      ops = @headers.take
      effects.headers.concat(ops)
      bits = @changes.keys.sum { |name| CHANGED[name] } + (ops.empty? ? 0 : CHANGED[:header])
      @changes = {}
      bits
    end
  end

  # The reply: the upstream's in the response phase, a hook's answer once there is one. Its status is 0 while there is none.
  class Response
    attr_reader :status, :headers, :body

    def initialize(reply, broken)
      @broken = broken
      @status = reply ? reply.status : 0
      @headers = Headers.new(reply ? reply.headers : [], broken)
      @body = reply.body if reply&.has_body?
      @answer = false
      @changes = {}
    end

    def status=(number)
      return @broken.call("status #{number}: want 200 to 599") unless (200..599).cover?(number)

      @status = @changes[:status] = number
    end

    def body=(bytes)
      @body = @changes[:response_body] = bytes.to_s.b
    end

    def replace(status, headers, body)
      self.status = status
      @headers = Headers.new([], @broken)
      headers.each { |name, value| Array(value).each { |v| @headers.add(name, v) } }
      @body = body.to_s.b
      @answer = true
      @changes = { answer: nil }
      @headers.take
    end

    def merge(effects)
      ops = @headers.take
      if @answer # later changes of an answer are made in it
        effects.answer = V1::Response.new(status: @status, headers: @headers.fields, body: @body)
        effects.clear_status
        effects.clear_response_body
        effects.response_headers.clear
      else
        effects.status = @changes[:status] if @changes.key?(:status)
        effects.response_body = @changes[:response_body] if @changes.key?(:response_body)
        effects.response_headers.concat(ops)
      end
      bits = @changes.keys.sum { |name| CHANGED[name] } + (ops.empty? ? 0 : CHANGED[:response_header])
      @changes = {}
      bits
    end
  end

  # One request and its reply, as the hooks of one call see and change them.
  class Exchange
    LEVELS = { debug: -4, info: 0, warn: 4, error: 8 }.freeze
    MOST = 256 # log lines and counters of a reply that a host takes, each

    attr_reader :phase, :route, :request, :response, :logs, :counters, :invalid

    def initialize(binding, call, ended)
      @phase = PHASES[PluginServer.number(binding.phase)]
      @route = binding.route || V1::Route.new
      @call = call
      @ended = ended
      broken = ->(why) { (@invalid ||= Failure.new(:FAILURE_CODE_PROTOCOL, why)) && nil }
      @request = Request.new(call, broken)
      @response = Response.new(call.response, broken)
      @broken = broken
      @session = call.session
      @values = call.values.to_h { |v| [v.name, v.data] }
      @logs = []
      @counters = []
      begin_hook(0, nil)
    end

    # Prepares for the next hook of the call.
    def begin_hook(index, config)
      @index = index
      @config = config.nil? || config.empty? ? @route.config : config
      @changes = 0
      @new_values = {}
    end

    # The configuration of the hook, else of the route; an empty Hash without one.
    def config = @config.empty? ? {} : JSON.parse(@config)

    def request_id = @call.request_id

    # The client's address and port.
    def client = @call.client.rpartition(':').then { |address, _, port| [address.delete('[]'), port.to_i] }

    def trace = [@call.traceparent, @call.tracestate]

    # The client's certificates in DER, its own first; for hooks that need :peer.
    def peer_certificates = @call.peer_certificates.to_a

    # Who calls, as a copy of the message, or nil.
    def session = @session&.dup

    # Says who calls, all of it; nil: nobody.
    def session=(session)
      @session = session.is_a?(Hash) ? V1::Session.new(session) : session
      @changes |= CHANGED[:session]
    end

    # Says who calls, by a key and nothing else.
    def authenticate(key, name = '')
      self.session = { key_id: key, alias: name }
    end

    # What an earlier hook left, or nil.
    def value(name) = @values[name]

    # Leaves bytes, by custom JSON, for later hooks; nil takes them away.
    def set_value(name, data)
      @values[name] = @new_values[name] = data&.b
      @changes |= CHANGED[:values]
    end

    # Answers at once; in the response phase replaces the reply. The hook goes on, and response is the answer.
    def answer(status, headers = {}, body = '')
      @answered = true
      @response.replace(status, headers, body)
    end

    def answered? = @answered

    # Ends the hook and the request with an error reply that the gateway makes, 400 to 599. It does not return.
    def refuse(status, message, headers = {})
      lines = Headers.new([], @broken)
      headers.each { |name, value| lines.add(name, value) }
      @broken.call("refusal with status #{status}: want 400 to 599") unless (400..599).cover?(status)
      raise @invalid if @invalid

      raise Refusal.new(status, message, lines.fields)
    end

    # Writes to the gateway's log under the hook's name.
    def log(level, message)
      level = LEVELS.fetch(level.to_sym)
      @logs.push(V1::LogLine.new(hook: @index, level: level, message: PluginServer.plain(message))) if @logs.size < MOST
    end

    # Adds to a counter of the hook's own.
    def count(name, delta = 1)
      @counters.push(V1::Counter.new(hook: @index, name: name, delta: delta)) if @counters.size < MOST
    end

    # Waits so many seconds, or until nobody waits for the call any more: then it raises.
    def wait(seconds) = @ended.wait(seconds)

    # Adds what the hook changed to effects and returns its bits.
    def merge(effects)
      if @changes.anybits?(CHANGED[:session])
        effects.session = @session
        effects.clear_session = @session.nil?
      end
      @new_values.each do |name, data|
        effects.values.replace(effects.values.reject { |v| v.name == name })
        effects.values.push(data ? V1::Value.new(name: name, data: data) : V1::Value.new(name: name))
      end
      @changes | @request.merge(effects) | @response.merge(effects)
    end
  end
end
