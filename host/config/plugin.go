package config

import (
	"encoding/json"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// PluginFile is the name of the file that describes a plugin in its folder.
const PluginFile = "plugin.yaml"

// A Plugin is what plugin.yaml says about the plugin in its folder.
type Plugin struct {
	// Name is the folder's name unless the file says otherwise; hooks name it as their server.
	Name        string `yaml:"name"`
	Version     string `yaml:"version"`
	Description string `yaml:"description"`
	// Dir is the absolute path of the plugin's folder.
	Dir string `yaml:"-"`
	// Bundle is what the plugin was asked for by, when it was packed. Its Dir is then where its processes find the
	// files; empty for one that runs inside the gateway, from memory.
	Bundle string `yaml:"-"`
	// Broken says why the plugin cannot be used; nil when it can. A broken plugin is known by its
	// name and its folder alone.
	Broken error `yaml:"-"`

	// Runtime is the language of a plugin that the gateway runs: in itself or, in Python, in processes beside it. Main is
	// the file in its folder that has the hooks, by default "main.js", "main.lua" or "plugin.py". Empty is a plugin server.
	Runtime Language  `yaml:"runtime"`
	Main    string    `yaml:"main"`
	Isolate Isolation `yaml:"isolate"`
	// Workers and Threads are those of a plugin in Python, where the settings shall not hold (see [PythonSettings]).
	Workers int `yaml:"workers,positive"`
	Threads int `yaml:"threads,positive"`
	// Build is a command that makes what Server starts, in the plugin's folder. It is for who writes the plugin:
	// `turnbuckle plugin run` runs it when files change, a gateway that serves never does.
	Build []string `yaml:"build"`
	// Server is where any other plugin runs.
	Server    PluginServer     `yaml:"server"`
	Hooks     []PluginHook     `yaml:"hooks"`
	Observers []PluginObserver `yaml:"observers"`
	// ConfigSchema is the JSON Schema that the config of every hook must satisfy; nil accepts
	// any. In the file it is the schema itself or the path of a JSON file in the folder.
	ConfigSchema json.RawMessage `yaml:"config_schema"`

	builtin bool                               // part of the gateway
	check   func(config json.RawMessage) error // of one that is: what its schema cannot say

	schema *jsonschema.Schema // compiled from ConfigSchema by LoadPlugin
	script *Script            // of a plugin with a Runtime, whole
}

// Script returns what a plugin with a Runtime is made of; nil for any other.
func (p *Plugin) Script() *Script { return p.script }

// PluginHook is one hook that a plugin has.
type PluginHook struct {
	Name  string `yaml:"name"`
	Phase Phase  `yaml:"phase"`
	Needs Needs  `yaml:"needs"`
	// Policy holds for every use of the hook about which the definition says no more.
	Policy `yaml:",inline"`
}

// PluginObserver is one observer that a plugin has.
type PluginObserver struct {
	Name string `yaml:"name"`
}

// Needs says what a hook reads; only that is sent to it.
type Needs struct {
	// Headers are the request headers; names are canonical.
	Headers HeaderNeeds `yaml:"headers"`
	// Query, Session, Values and Client ask for the query parameters, the session, the values
	// that earlier hooks left, and the client's address and TLS peer.
	Query   bool `yaml:"query"`
	Session bool `yaml:"session"`
	Values  bool `yaml:"values"`
	Client  bool `yaml:"client"`
	// Body is the request's body.
	Body BodyPolicy `yaml:"body"`
	// Response headers and body, for the response phase.
	ResponseHeaders HeaderNeeds `yaml:"response_headers"`
	ResponseBody    BodyPolicy  `yaml:"response_body"`
}

// HeaderNeeds is the word "all", or a list of header names.
type HeaderNeeds struct {
	All   bool
	Names []string
}
