# frozen_string_literal: true

# What the hooks do, with no gateway: ruby test/gatekeeper_test.rb
$LOAD_PATH.unshift(File.join(__dir__, '../lib'), ENV.fetch('STUBS', File.join(__dir__, '../stubs')))
require 'minitest/autorun'
require_relative '../gatekeeper'

class GatekeeperTest < Minitest::Test
  def field(name, value) = PluginServer::V1::Field.new(name: name, value: value)

  def test_welcome_greets_and_answers_teapots
    x = GATEKEEPER.try('Welcome', phase: :pre, path: '/native/x', headers: [field('X-Remove', 'me')]).exchange
    assert_equal [['X-Greeting', 'hello example.test']], x.request.headers.to_a
    x = GATEKEEPER.try('Welcome', phase: :pre, path: '/native/teapot').exchange
    assert_equal [418, %w[1 2]], [x.response.status, x.response.headers.all('X-Pot')]
  end

  def test_check_key_knows_the_keys_of_its_configuration
    ask = ->(key) { GATEKEEPER.try('CheckKey', phase: :auth, config: { keys: { sesame: 'ali' } }, headers: [field('Authorization', key)]) }
    assert_equal 'ali', ask.call('sesame').exchange.session.alias
    assert_equal [403, 'unknown key'], ask.call('guess').error.then { |e| [e.status, e.message] }
  end

  def test_sign_signs_text
    reply = PluginServer::V1::Response.new(status: 200, headers: [field('Content-Type', 'text/plain')], body: "plain\n")
    x = GATEKEEPER.try('Sign', phase: :response, method: 'PUT', response: reply).exchange
    assert_equal [201, "plain\nsigned\n"], [x.response.status, x.response.body]
  end
end
