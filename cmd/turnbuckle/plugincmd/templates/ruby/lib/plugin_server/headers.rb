# frozen_string_literal: true

module PluginServer
  # Header lines in order. Names compare without case. Changes are noted for the gateway.
  class Headers
    include Enumerable

    TOKEN = /\A[!#$%&'*+\-.^_`|~0-9A-Za-z]+\z/.freeze
    CONTROL = /[\x00-\x08\x0a-\x1f\x7f]/n.freeze

    # fields are those of a message; broken is told of a change that no message can carry.
    def initialize(fields, broken)
      @lines = fields.map { |f| [f.name, f.value] }
      @broken = broken
      @ops = []
    end

    # The first value, or nil.
    def [](name)
      line = @lines.find { |n, _| n.casecmp?(name) }
      line && PluginServer.text(line[1])
    end

    # All values in order.
    def all(name)
      @lines.select { |n, _| n.casecmp?(name) }.map { |_, v| PluginServer.text(v) }
    end

    # Yields name and value of each line.
    def each(&block)
      @lines.map { |n, v| [n, PluginServer.text(v)] }.each(&block)
    end

    # Replaces all lines of the name by one.
    def []=(name, value)
      line = made(name, value) or return
      note(:HEADER_OP_KIND_SET, *line)
      at = @lines.index { |n, _| n.casecmp?(name) }
      return @lines.push(line) unless at

      @lines[at] = line
      @lines = @lines.each_with_index.reject { |(n, _), i| i > at && n.casecmp?(name) }.map(&:first)
    end

    # Appends a line.
    def add(name, value)
      line = made(name, value) or return
      note(:HEADER_OP_KIND_ADD, *line)
      @lines.push(line)
    end

    # Removes all lines of the name.
    def delete(name)
      line = made(name, '') or return
      note(:HEADER_OP_KIND_DEL, *line)
      @lines.reject! { |n, _| n.casecmp?(name) }
    end

    # The changes since it was last asked.
    def take
      ops = @ops
      @ops = []
      ops
    end

    def fields
      @lines.map { |n, v| V1::Field.new(name: n, value: v) }
    end

    private

    def made(name, value)
      bytes = value.to_s.b
      return @broken.call("header name #{name.inspect}: want a token (RFC 9110 5.6.2)") unless TOKEN.match?(name)
      return @broken.call("value of header #{name}: want no control characters (RFC 9110 5.5)") if CONTROL.match?(bytes)

      [name, bytes]
    end

    def note(kind, name, value)
      @ops.push(V1::HeaderOp.new(kind: kind, name: name, value: value))
    end
  end
end
