# frozen_string_literal: true

require 'uri'

module PluginServer
  # The query of a request: pairs in order. Those that nobody changes keep their bytes, whatever escapes they use.
  class Query
    attr_reader :raw

    def initialize(raw, broken)
      @raw = raw
      @broken = broken
      @edited = false
    end

    # Replaces what stands behind the question mark.
    def raw=(text)
      return @broken.call("query #{text.inspect}: want no blanks, control characters or #") if /[\x00-\x20\x7f#]/n.match?(text.b)

      @raw = text
      @edited = true
    end

    def [](name) = all(name).first

    def all(name) = pairs.select { |n, _| n == name }.map { |_, v| v }

    # Replaces all pairs of the name by one, in the place of the first.
    def []=(name, value)
      made = form(name, value)
      at = parts.index { |p| name_of(p) == name }
      return keep(parts + [made]) unless at

      keep(parts.each_with_index.reject { |p, i| i != at && name_of(p) == name }.map { |p, i| i == at ? made : p })
    end

    def add(name, value) = keep(parts + [form(name, value)])

    def delete(name)
      left = parts.reject { |p| name_of(p) == name }
      keep(left) if left.size < parts.size
    end

    # Whether it was changed since it was last asked.
    def take
      edited = @edited
      @edited = false
      edited
    end

    private

    def parts = @raw.split('&').reject(&:empty?)

    def pairs = parts.map { |p| [name_of(p), unescape(p.partition('=').last)] }

    def name_of(part) = unescape(part.partition('=').first)

    def form(name, value) = "#{URI.encode_www_form_component(name)}=#{URI.encode_www_form_component(value)}"

    # Text whose escapes are broken stays as it is.
    def unescape(text) = text.match?(/%(?!\h\h)/) ? text : PluginServer.text(URI.decode_www_form_component(text.b, Encoding::BINARY))

    def keep(parts)
      @raw = parts.join('&')
      @edited = true
    end
  end
end
