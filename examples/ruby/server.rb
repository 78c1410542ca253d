# frozen_string_literal: true

$LOAD_PATH.unshift(File.join(__dir__, 'lib'), ENV.fetch('STUBS', File.join(__dir__, 'stubs')))
require_relative 'gatekeeper'

GATEKEEPER.serve(ARGV)
