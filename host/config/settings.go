package config

import (
	"net/netip"
	"time"
)

// Settings are what turnbuckle.yaml says about the gateway itself. Every field can also be set
// by an environment variable: TURNBUCKLE_ and the path of its keys in upper case, joined by "_"
// and with "-" written "_" (admin.secret is TURNBUCKLE_ADMIN_SECRET, servers.my-auth.address is
// TURNBUCKLE_SERVERS_MY_AUTH_ADDRESS); lists are separated by commas, mappings are k=v pairs
// separated by commas. Flags win over the environment, the environment over the file, the file
// over the defaults.
type Settings struct {
	Listen ListenSettings `yaml:"listen"`
	Admin  AdminSettings  `yaml:"admin"`

	// APIs is the folder of definitions, Plugins the folder of plugin folders. Absolute after
	// loading. Defaults "apis" and "plugins.d".
	APIs    string `yaml:"apis"`
	Plugins string `yaml:"plugins"`
	// Servers are plugin servers by name. "default" is the one that hooks without a server and
	// classic definitions with `driver: grpc` mean.
	Servers map[string]PluginServer `yaml:"servers"`
	// RunDir is the folder where the sockets of plugin servers are that the gateway starts, of at most 60 bytes.
	// Absolute after loading; default: the system's folder for temporary files.
	RunDir string `yaml:"run_dir"`
	// Hooks is the policy of hooks about which neither the definition nor the plugin says more.
	Hooks Policy `yaml:"hooks"`

	// Store, Keys and Limits are who may call and how much. Policies is a file, or a folder of files, with the policies
	// that keys name; those of the control API are in the store. Absolute after loading. Default "policies".
	Store    StoreSettings `yaml:"store"`
	Keys     KeySettings   `yaml:"keys"`
	Limits   LimitSettings `yaml:"rate_limits"`
	Policies string        `yaml:"policies"`

	Scripts ScriptSettings `yaml:"scripts"`
	Python  PythonSettings `yaml:"python"`
	Bundles BundleSettings `yaml:"bundles"`

	// Use turns ready-made plugins on for every API whose definition says nothing else of them. Each runs once.
	Use []PluginUse `yaml:"use"`

	AccessLog AccessLog `yaml:"access_log"`
	Log       Log       `yaml:"log"`
	Tracing   Tracing   `yaml:"tracing"`
	Metrics   Metrics   `yaml:"metrics"`

	// ShutdownDelay is how long a gateway that is told to stop goes on serving, not ready any more,
	// before it drains: load balancers need so long to look elsewhere. Default 0, not at all.
	ShutdownDelay time.Duration `yaml:"shutdown_delay"`
	// DrainTimeout bounds how long requests and streams of an old table, or of a gateway that
	// stops, may go on. Default 30 s.
	DrainTimeout time.Duration `yaml:"drain_timeout,positive"`
	// LoadTimeout bounds opening all routes. Default 8 s.
	LoadTimeout time.Duration `yaml:"load_timeout,positive"`
	// Strict refuses to start when a definition is refused.
	Strict bool `yaml:"strict"`
	// Ready is what /ready asks for. Default ReadyNormal.
	Ready Readiness `yaml:"ready"`
	// Watch reloads when files change. Default true.
	Watch bool `yaml:"watch"`

	Routing Routing `yaml:"routing"`
	// Errors holds the templates of APIs that have none of their own.
	Errors Errors `yaml:"errors"`
	// HideGenerator leaves the X-Generator header out of every error reply.
	HideGenerator bool `yaml:"hide_generator"`
	// SecretDirs are absolute folders outside their own from which definitions may read secrets
	// with file:PATH. Default none.
	SecretDirs []string `yaml:"secret_dirs"`
}

// ListenSettings describe the data listener.
type ListenSettings struct {
	// Address is host:port. Default ":8080".
	Address string    `yaml:"address"`
	TLS     ServerTLS `yaml:"tls"`
	// ProxyProtocol takes the client's address from PROXY protocol headers (v1 and v2) of
	// trusted proxies.
	ProxyProtocol bool `yaml:"proxy_protocol"`
	// TrustedProxies are the peers whose forwarded-for headers are believed. Default none.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`
	// XFFDepth takes the client's address this many entries from the right of X-Forwarded-For;
	// 0 takes the rightmost entry that is not a trusted proxy.
	XFFDepth int `yaml:"xff_depth"`
	// HeaderTimeout bounds reading a request's header, ReadTimeout the whole request with its
	// body (0: no bound), IdleTimeout the wait for the next request. Defaults 10 s, 0, 120 s.
	HeaderTimeout time.Duration `yaml:"header_timeout,positive"`
	ReadTimeout   time.Duration `yaml:"read_timeout,positive"`
	IdleTimeout   time.Duration `yaml:"idle_timeout,positive"`
	// MaxHeader bounds a request's header block, default 64 KiB; MaxBody its body, default 0 (no
	// bound).
	MaxHeader Size `yaml:"max_header,positive"`
	// MaxHeaderFields bounds the field lines of a request's header, default 1000.
	MaxHeaderFields int  `yaml:"max_header_fields,positive"`
	MaxBody         Size `yaml:"max_body,positive"`
	// H2C accepts HTTP/2 in the clear with prior knowledge. Default true.
	H2C bool `yaml:"h2c"`
}

// ServerTLS is how the gateway behaves as a TLS server; it is off when CertFiles is empty. The
// files are read again when they change. Paths are absolute after loading.
type ServerTLS struct {
	// CertFiles and KeyFiles are PEM files, one key for each certificate chain, in one order. A
	// single path may be written without a list.
	CertFiles []string `yaml:"cert"`
	KeyFiles  []string `yaml:"key"`
	// MinVersion defaults to TLS 1.2.
	MinVersion TLSVersion `yaml:"min_version"`
	// ClientCAFile holds the PEM roots that client certificates must lead to. Without, clients may present a certificate
	// that nobody vouches for: keys bound to it, and lists of those admitted, know it by its fingerprint.
	ClientCAFile string `yaml:"client_ca"`
	// ClientRequired refuses connections without a client certificate. Default false.
	ClientRequired bool `yaml:"client_required"`
}

// AdminSettings describe the control listener.
type AdminSettings struct {
	// Listen is host:port; empty means no control listener.
	Listen string `yaml:"listen"`
	// Secret guards the control listener and is required with it. SecretFile names a file that
	// holds it; LoadSettings reads the file into Secret.
	Secret     string    `yaml:"secret"`
	SecretFile string    `yaml:"secret_file"`
	TLS        ServerTLS `yaml:"tls"`
	// Tokens are further credentials by name, which audit lines tell.
	Tokens map[string]AdminToken `yaml:"tokens"`
	// Settings lets the control API change settings of the running gateway. Default true.
	Settings bool `yaml:"settings"`
}

// PluginServer is a gRPC plugin server: one at an address, or one that the gateway starts.
type PluginServer struct {
	// Address is unix:PATH, unix:///PATH, tcp://host:port, host:port or dns:///host:port. A server has an address or a
	// command.
	Address string      `yaml:"address"`
	Start   PluginStart `yaml:",inline"`
	// Protocol is what the server speaks. Default ServerAuto: ask, then decide.
	Protocol ServerProtocol `yaml:"protocol"`
	TLS      PluginTLS      `yaml:"tls"`
	// MaxRecv and MaxSend bound a message. Default 4 MiB each; at least the body limit of the
	// hooks on the server is wise.
	MaxRecv Size `yaml:"max_recv,positive"`
	MaxSend Size `yaml:"max_send,positive"`
	// Authority replaces the :authority of calls.
	Authority string `yaml:"authority"`
	// Streams is the number of session streams per address of the native protocol, Window the
	// frames in flight on each. 0 takes the runtime's choice.
	Streams int `yaml:"streams,positive"`
	Window  int `yaml:"window,positive"`
	// ConnectTimeout bounds one attempt to connect. Default 5 s.
	ConnectTimeout time.Duration `yaml:"connect_timeout,positive"`
	// Health is the service name asked of the server's gRPC health service; empty asks for the
	// server as a whole. Servers that go-plugin's handshake is spoken with are asked for "plugin".
	Health string `yaml:"health"`
}

// The bounds of plugin servers about which nothing is said.
const (
	DefaultMaxMessage     = Size(4 << 20)
	DefaultConnectTimeout = 5 * time.Second
)

// PluginTLS is TLS towards a plugin server; the zero value is no TLS.
type PluginTLS struct {
	// Enabled turns TLS on; giving any file does so too. After loading it is true for both.
	Enabled bool `yaml:"enabled"`
	// CAFile holds PEM roots (default: the system's), CertFile and KeyFile the client
	// certificate of mutual TLS. Absolute after loading.
	CAFile     string `yaml:"ca"`
	CertFile   string `yaml:"cert"`
	KeyFile    string `yaml:"key"`
	ServerName string `yaml:"server_name"`
}

// ServerProtocol is the protocol of a plugin server.
type ServerProtocol string

// The protocols of plugin servers. ServerAuto asks Describe and takes Tyk's protocol when the
// server answers Unimplemented.
const (
	ServerAuto   ServerProtocol = "auto"
	ServerTyk    ServerProtocol = "tyk"
	ServerNative ServerProtocol = "native"
)

// UnmarshalText accepts "auto", "tyk" and "native".
func (p *ServerProtocol) UnmarshalText(text []byte) error {
	return oneOf(p, text, ServerAuto, ServerTyk, ServerNative)
}

// AccessLog describes the access log.
type AccessLog struct {
	// Enabled defaults to true.
	Enabled bool `yaml:"enabled"`
	// Format defaults to LogJSON.
	Format LogFormat `yaml:"format"`
	// Fields selects and orders the fields; empty means all.
	Fields []string `yaml:"fields"`
	// Path is a file that is appended to, or "stdout" (default) or "stderr".
	Path string `yaml:"path"`
}

// Log describes the gateway's own log, on stderr.
type Log struct {
	// Level defaults to LevelInfo, Format to LogText.
	Level  LogLevel  `yaml:"level"`
	Format LogFormat `yaml:"format"`
	// Targets get the lines besides.
	Targets []LogTarget `yaml:"targets"`
}

// LogFormat is how log lines are written.
type LogFormat string

// The log formats.
const (
	LogJSON LogFormat = "json"
	LogText LogFormat = "text"
)

// UnmarshalText accepts "json" and "text".
func (f *LogFormat) UnmarshalText(text []byte) error { return oneOf(f, text, LogJSON, LogText) }

// LogLevel is the least severe level that is written.
type LogLevel string

// The log levels.
const (
	LevelDebug LogLevel = "debug"
	LevelInfo  LogLevel = "info"
	LevelWarn  LogLevel = "warn"
	LevelError LogLevel = "error"
)

// UnmarshalText accepts the named levels.
func (l *LogLevel) UnmarshalText(text []byte) error {
	return oneOf(l, text, LevelDebug, LevelInfo, LevelWarn, LevelError)
}

// Tracing describes the export of OpenTelemetry spans; it is off when Endpoint is empty.
type Tracing struct {
	// Endpoint is host:port (grpc) or an http(s) URL (http) of an OTLP receiver.
	Endpoint string `yaml:"endpoint"`
	// Protocol defaults to OTLPGRPC.
	Protocol OTLPProtocol `yaml:"protocol"`
	// Headers are sent with every export.
	Headers map[string]string `yaml:"headers"`
	// SampleRatio is the share of traces begun here that are kept, 0..1. Default 1.
	SampleRatio float64 `yaml:"sample_ratio"`
	// ServiceName defaults to "turnbuckle".
	ServiceName string `yaml:"service_name"`
	// Insecure exports without TLS (grpc).
	Insecure bool `yaml:"insecure"`
}

// OTLPProtocol is the transport of span exports.
type OTLPProtocol string

// The OTLP transports.
const (
	OTLPGRPC OTLPProtocol = "grpc"
	OTLPHTTP OTLPProtocol = "http"
)

// UnmarshalText accepts "grpc" and "http".
func (p *OTLPProtocol) UnmarshalText(text []byte) error { return oneOf(p, text, OTLPGRPC, OTLPHTTP) }

// Metrics describes /metrics on the control listener.
type Metrics struct {
	// Enabled defaults to true.
	Enabled bool `yaml:"enabled"`
}

// Readiness is what makes /ready answer 503 while serving.
type Readiness string

// The readiness rules. ReadyStrict also counts refused routes and dead plugins.
const (
	ReadyNormal Readiness = "normal"
	ReadyStrict Readiness = "strict"
)

// UnmarshalText accepts "normal" and "strict".
func (r *Readiness) UnmarshalText(text []byte) error { return oneOf(r, text, ReadyNormal, ReadyStrict) }

// Routing holds the options of the route lookup.
type Routing struct {
	// Match is how listen paths match when a definition does not say. Default MatchSegments.
	Match PathMatching `yaml:"match"`
}

// DefaultSettings returns the settings of a gateway about which nothing is said.
func DefaultSettings() Settings {
	return Settings{
		Listen: ListenSettings{
			Address:         ":8080",
			HeaderTimeout:   10 * time.Second,
			IdleTimeout:     120 * time.Second,
			MaxHeader:       64 << 10,
			MaxHeaderFields: 1000,
			H2C:             true,
		},
		Admin:    AdminSettings{Settings: true},
		APIs:     "apis",
		Plugins:  "plugins.d",
		Store:    StoreSettings{Type: StoreBolt, Path: "data", OnError: StoreFail, Redis: RedisSettings{Prefix: "turnbuckle:", Timeout: time.Second}},
		Keys:     KeySettings{Hash: KeySHA256, ListHashed: true, MinLength: 3},
		Limits:   LimitSettings{Headers: LimitHeadersQuotas},
		Policies: "policies",
		Scripts: ScriptSettings{
			Middleware: "middleware", VirtualText: true, Heap: 128 << 20, Size: 16 << 20, Depth: 512, Idle: 8, Most: 256, Memory: 512 << 20,
			Fetch: ScriptFetch{Timeout: 10 * time.Second, Body: 4 << 20, Hops: 4},
		},
		Python:       PythonSettings{Dir: "data/python"},
		Bundles:      BundleSettings{Poll: defaultBundlePoll},
		AccessLog:    AccessLog{Enabled: true, Format: LogJSON, Path: "stdout"},
		Log:          Log{Level: LevelInfo, Format: LogText},
		Tracing:      Tracing{Protocol: OTLPGRPC, SampleRatio: 1, ServiceName: "turnbuckle"},
		Metrics:      Metrics{Enabled: true},
		DrainTimeout: 30 * time.Second,
		LoadTimeout:  8 * time.Second,
		Ready:        ReadyNormal,
		Watch:        true,
		Routing:      Routing{Match: MatchSegments},
	}
}
