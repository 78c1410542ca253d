#!/bin/sh
# Fetches underscore.js from its npm package: the file as it is, with its licence. Run by go generate, with npm.
set -eu
version=1.13.8
dir=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm pack --silent "underscore@$version" >/dev/null
tar -xzf "underscore-$version.tgz"
cp package/underscore-umd.js "$dir/underscore-umd.js"
cp package/LICENSE "$dir/LICENSE"
