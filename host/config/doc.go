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
// LoadDir reads a folder of definitions in our own form (YAML or JSON; testdata/definition.yaml
// shows every key) and, through Loader.Classic, Tyk's classic form.
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
