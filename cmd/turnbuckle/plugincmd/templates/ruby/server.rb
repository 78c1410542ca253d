# frozen_string_literal: true

$LOAD_PATH.unshift(File.join(__dir__, 'lib'), File.join(__dir__, 'stubs'))
require_relative 'plugin'

PLUGIN.serve(ARGV)
