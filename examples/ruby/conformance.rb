# frozen_string_literal: true

# The hooks of proto/CONFORMANCE.md: what `turnbuckle plugin conform` calls.
$LOAD_PATH.unshift(File.join(__dir__, 'lib'), ENV.fetch('STUBS', File.join(__dir__, 'stubs')))
require 'base64'
require 'openssl'
require 'plugin_server'

SEEN = { records: [], events: [] } # rubocop:disable Style/MutableConstant -- what the observer has seen

def value(step) = step['value64'] ? Base64.decode64(step['value64']) : step.fetch('value', '')

def lines(headers) = headers.map { |name, v| [name, Base64.strict_encode64(v)] }

def body(bytes) = bytes && Base64.strict_encode64(bytes)

def session(message)
  return unless message

  { key_id: message.key_id, alias: message.alias, org_id: message.org_id, rate: message.rate, quota_max: message.quota_max, tags: message.tags.to_a, metadata: message.metadata.to_h }
end

def peer(exchange)
  der = exchange.peer_certificates.first
  der && OpenSSL::Digest::SHA256.hexdigest(der)
end

def report(exchange, step)
  r = exchange.request
  reply = exchange.response
  route = exchange.route
  client, port = exchange.client
  parent, state = exchange.trace
  exchange.answer(200, { 'Content-Type' => 'application/json' }, JSON.generate(
    phase: exchange.phase, method: r.method, path: r.path, query: r.query.raw, uri: r.uri, scheme: r.scheme, host: r.host, proto: r.proto,
    client: client, client_port: port, request_id: exchange.request_id, headers: lines(r.headers), length: r.length, body: body(r.body), param_q: r.query.all('q'),
    route: { id: route.id, name: route.name, org: route.org, listen_path: route.listen_path, bundle: route.bundle }, note: exchange.config['note'],
    trace: { parent: parent, state: state }, peer: peer(exchange), session: session(exchange.session), observed: SEEN,
    values: (step['values'] || []).to_h { |name| [name, body(exchange.value(name))] },
    response: reply.status.zero? ? nil : { status: reply.status, headers: lines(reply.headers), body: body(reply.body) }
  ))
end

STEPS = {
  'report' => method(:report),
  'set_header' => ->(x, s) { message(x, s).headers[s['name']] = value(s) },
  'add_header' => ->(x, s) { message(x, s).headers.add(s['name'], value(s)) },
  'del_header' => ->(x, s) { message(x, s).headers.delete(s['name']) },
  'set_method' => ->(x, s) { x.request.method = s['value'] },
  'set_path' => ->(x, s) { x.request.path = s['value'] },
  'set_query' => ->(x, s) { x.request.query.raw = s.fetch('value', '') },
  'set_param' => ->(x, s) { x.request.query[s['name']] = s.fetch('value', '') },
  'add_param' => ->(x, s) { x.request.query.add(s['name'], s.fetch('value', '')) },
  'del_param' => ->(x, s) { x.request.query.delete(s['name']) },
  'set_body' => ->(x, s) { message(x, s).body = value(s) * s.fetch('repeat', 1) },
  'set_status' => ->(x, s) { x.response.status = s['status'] },
  'answer' => ->(x, s) { x.answer(s['status'], s['headers'] || [], value(s)) },
  'refuse' => ->(x, s) { x.refuse(s['status'], s['message'], s['headers'] || []) },
  'authenticate' => ->(x, s) { x.authenticate(s['key'], s.fetch('alias', '')) },
  'set_session' => ->(x, s) { x.session = s['session'].transform_keys(&:to_sym).compact },
  'clear_session' => ->(x, _) { x.session = nil },
  'set_value' => ->(x, s) { x.set_value(s['name'], value(s)) },
  'del_value' => ->(x, s) { x.set_value(s['name'], nil) },
  'log' => ->(x, s) { x.log(s['level'], s['message']) },
  'count' => ->(x, s) { x.count(s['name'], s['delta']) },
  'sleep' => ->(x, s) { x.wait(s['ms'] / 1000.0) },
  'fail' => ->(_, s) { raise s['message'] },
  'crash' => ->(_, s) { raise Exception, s['message'] } # rubocop:disable Lint/RaiseException -- what nobody expects
}.freeze

def message(exchange, step) = step['of'] == 'response' ? exchange.response : exchange.request

conform = lambda do |x|
  (x.config['steps'] || []).each do |step|
    run = STEPS[step['do']] or raise "unknown step #{step['do'].inspect}"
    run.call(x, step)
  end
end

plugin = PluginServer::Plugin.new('conformance', '1.0.0')
plugin.hook('Conform', needs: %i[default body response_body peer], &conform)
plugin.hook('ConformNarrow', phase: :pre, needs: [:headers], headers: ['X-One'], body_limit: 1024, &conform)
plugin.hook('ConformPick', phase: :post) { |x| x.request.headers['X-Picked'] = 'post' }
plugin.hook('ConformPick') { |x| x.request.headers['X-Picked'] = 'any' }
plugin.observer('ConformWatch') do |records, events|
  SEEN[:records] = (SEEN[:records] + records.map(&:request_id)).last(100)
  SEEN[:events] = (SEEN[:events] + events.map(&:type)).last(100)
end
plugin.serve(ARGV)
