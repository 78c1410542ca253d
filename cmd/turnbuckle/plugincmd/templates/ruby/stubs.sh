#!/bin/sh
# Generates the stubs from the gateway's .proto files: sh stubs.sh [FOLDER]. They are here, in proto/, or where this repository has them.
set -e
cd "$(dirname "$0")"
protos=${1:-proto}
[ -d "$protos/plugin" ] || protos=../../proto
mkdir -p stubs
grpc_tools_ruby_protoc -I "$protos" --ruby_out=stubs --grpc_out=stubs "$protos"/plugin/v1/*.proto
