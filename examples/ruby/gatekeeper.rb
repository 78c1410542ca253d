# frozen_string_literal: true

# A plugin with hooks in all phases but one, and an observer. server.rb serves it, test/gatekeeper_test.rb tests it.
require 'plugin_server'

GATEKEEPER = PluginServer::Plugin.new('gatekeeper-ruby', '1.0.0', config_schema: {
  type: 'object', additionalProperties: false, properties: { keys: { type: 'object', additionalProperties: { type: 'string' } } }
})

# Sets a header, waits or answers when it is asked to.
GATEKEEPER.hook('Welcome', phase: :pre, needs: [:headers]) do |x|
  headers = x.request.headers
  headers['X-Greeting'] = "hello #{x.request.host}"
  headers.delete('X-Remove')
  x.count('welcomed')
  x.wait(headers['X-Wait'].to_i / 1000.0)
  x.answer(418, { 'Content-Type' => 'text/x-tea', 'X-Pot' => %w[1 2] }, "short and stout\n") if x.request.path.end_with?('/teapot')
  raise 'a bug in a hook' if x.request.path.end_with?('/broken')
end

# Knows the keys of the route's configuration.
GATEKEEPER.hook('CheckKey', phase: :auth, needs: [:headers], headers: ['Authorization']) do |x|
  key = x.request.headers['Authorization']
  if key # without one nobody calls, and the gateway refuses
    name = x.config.fetch('keys', {})[key] or x.refuse(403, 'unknown key', 'X-Reason' => 'key')
    x.session = { key_id: key, alias: name, metadata: { 'plan' => 'gold' } }
  end
end

# Tells the upstream who calls, and changes what it is asked to.
GATEKEEPER.hook('Tell', phase: :post, needs: %i[headers query session body]) do |x|
  r = x.request
  r.headers['X-Alias'] = x.session.alias
  r.headers['X-Plan'] = x.session.metadata['plan']
  r.headers.add('X-Many', '3')
  if r.path.include?('/old/')
    r.path = r.path.sub('/old/', '/new/')
    r.query['b'] = '2'
  end
  r.body += '+ruby' if r.headers['X-Edit'] == 'append'
end

# Changes header, status and body of the reply.
GATEKEEPER.hook('Sign', phase: :response, needs: %i[response_headers response_body]) do |x|
  reply = x.response
  reply.headers['X-Signed'] = 'one'
  reply.headers.add('X-Signed', 'two')
  reply.headers.delete('X-Internal')
  reply.body += "signed\n" if reply.headers['Content-Type'] == 'text/plain'
  reply.status = 201 if x.request.method == 'PUT'
end

# Prints what has ended and what has happened.
GATEKEEPER.observer('Watch') do |records, events|
  records.each { |r| puts "record #{r['method']} #{r.path} #{r.status} #{r.alias}" }
  events.each { |e| puts "event #{e.type} #{e.route}" }
  $stdout.flush
end
