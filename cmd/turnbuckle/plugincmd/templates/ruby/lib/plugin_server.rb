# frozen_string_literal: true

# A small framework for plugin servers of Turnbuckle, on the stubs that grpc_tools_ruby_protoc generates. proto/PROTOCOL.md is
# what it implements, the native protocol; it is yours to change.
require 'json'
require 'grpc'
require 'plugin/v1/plugin_services_pb'

# See Plugin for where to begin.
module PluginServer
  V1 = Turnbuckle::Plugin::V1

  MAX_MESSAGE = 4 << 20 # bytes, both ways

  # The phases by their numbers in the protocol.
  PHASES = [nil, :pre, :auth, :post_key_auth, :post, :response].freeze

  # What a hook may need to be sent, in the order of the protocol's bits.
  NEEDS = %i[headers query body response_headers response_body session values peer trace nothing].freeze
  DEFAULT_NEEDS = 0b101101011

  # Ends a request on purpose: the only text of a plugin that a client reads.
  class Refusal < StandardError
    attr_reader :status, :headers

    def initialize(status, message, headers = [])
      super(message)
      @status = status
      @headers = headers
    end
  end

  # Why a hook gave no result, with the protocol's name for that.
  class Failure < StandardError
    attr_reader :code

    def initialize(code, message)
      super(message)
      @code = code
    end
  end

  # The number of a phase as messages have it: a name, or a number that has none.
  def self.number(phase) = phase.is_a?(Symbol) ? V1::Phase.resolve(phase) : phase

  # Text of any bytes: UTF-8 where it is that, else binary.
  def self.text(bytes)
    t = bytes.dup.force_encoding(Encoding::UTF_8)
    t.valid_encoding? ? t : t.force_encoding(Encoding::BINARY)
  end

  # Text that a protobuf string can hold, within the bound of a log line or message.
  def self.plain(text)
    t = text.to_s.dup
    t = t.force_encoding(Encoding::UTF_8) if t.encoding == Encoding::BINARY
    t.encode(Encoding::UTF_8, invalid: :replace, undef: :replace).scrub.byteslice(0, 4096).scrub('')
  end
end

require 'plugin_server/headers'
require 'plugin_server/query'
require 'plugin_server/exchange'
require 'plugin_server/run'
require 'plugin_server/plugin'
require 'plugin_server/session'
require 'plugin_server/server'
