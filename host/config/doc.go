// Package config holds API definitions, the gateway's settings and plugin descriptions: their
// types, strict decoding from YAML and JSON, and validation. It has no behaviour; package host
// compiles what is loaded here.
//
// Everything that is wrong with a file is reported at once, each as a Problem with file, line,
// column and JSON path. Unknown keys are errors. Files and strings of any content give problems,
// never a panic.
//
// # Definitions
//
// Loader.LoadDir reads a folder of definitions in our own form, YAML or JSON, and, through
// Loader.Classic, in Tyk's classic form. A definition of our own needs two lines:
//
//	listen: {path: /hello}
//	upstream: {url: http://127.0.0.1:8000}
//
// and more has the shape
//
//	id: orders
//	listen: {path: /orders, host: api.example.com, strip: true, match: segments, clean: false}
//	upstream:
//	  targets: [{url: http://a.internal, weight: 3}, {url: http://b.internal}]
//	  timeouts: {dial: 2s, header: 30s, total: 5m}
//	limits: {body: 10MiB}
//	hooks:
//	  auth: [{server: hello, hook: Authenticate, timeout: 500ms}]
//	  post: [{server: hello, hook: Sign, on_error: skip, body: {buffer: 64KiB}, config: {key: env:SIGN_KEY}}]
//	budget: 2s
//
// testdata/definition.yaml, testdata/turnbuckle.yaml and testdata/plugins.d/hello/plugin.yaml show
// every key of the three kinds of files, with its default.
//
// # References
//
// A string value of the form env:NAME is replaced by the value of that environment variable, one
// of the form file:PATH by the content of that file without a final newline, anywhere in a file.
// A missing variable or file is an error. In a definition file:PATH is relative to the
// definition's folder and may not leave it (or lies below one of Settings.SecretDirs), and the
// gateway's own variables (TURNBUCKLE_...) cannot be read.
package config

import "github.com/turnbuckle-gateway/turnbuckle/host/config/document"

// Problem is one thing that is wrong, or worth saying, about a file.
type Problem = document.Problem

// Problems are all problems of one or more files.
type Problems = document.Problems

// The severities of problems.
const (
	SeverityError   = document.Error
	SeverityWarning = document.Warning
	SeverityIgnored = document.Ignored
)
