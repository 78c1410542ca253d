/** A string, or bytes. */
export type Data = string | Uint8Array | ArrayBuffer;
/** A phase of an exchange, in the order in which it passes them. */
export type Phase = 'pre' | 'auth' | 'post_key_auth' | 'post' | 'response';
/** A part of an exchange that a hook can ask for. default is all but bodies and peer. */
export type Need = 'default' | 'headers' | 'query' | 'body' | 'response_headers' | 'response_body' | 'session' | 'values' | 'peer' | 'trace' | 'nothing';
/** Header lines: an object of values or lists of values, or a list of pairs. */
export type HeaderLines = Record<string, string | string[]> | Iterable<[string, string]>;

/** Header lines in order; names without regard to case. Pairs of a query: names with regard to case. */
export interface Lines {
  /** The first value. */
  get(name: string): string | undefined;
  /** All values; empty when there is none. */
  getAll(name: string): string[];
  has(name: string): boolean;
  /** Replaces all values by one, or by those of a list. */
  set(name: string, value: string | string[]): void;
  /** Appends a value. */
  add(name: string, value: string): void;
  /** Removes all values. */
  del(name: string): void;
  /** [name, value] in order, as they came. */
  entries(): [string, string][];
  [Symbol.iterator](): Iterator<[string, string]>;
}

/** Header lines. Values may be bytes too. */
export interface Headers extends Lines {
  set(name: string, value: string | Uint8Array | (string | Uint8Array)[]): void;
  add(name: string, value: string | Uint8Array): void;
}

/** The query of a request. Pairs that nobody changes keep their bytes. */
export interface Query extends Lines {
  /** What stands behind the "?". */
  raw: string;
}

export interface Message {
  readonly headers: Headers;
  /** Of the body, in bytes; -1 when unknown. */
  readonly length: number;
  /** The body. Throws when the hook did not ask for it. */
  text(): string;
  bytes(): Buffer;
  json(): any;
  /** Replaces the body; nothing empties it. */
  setBody(data?: Data | null): void;
}

export interface Request extends Message {
  method: string;
  /** With escapes as they came, the listen path included. */
  path: string;
  readonly query: Query;
  /** Path and query as they stand. */
  readonly target: string;
  readonly scheme: string;
  readonly host: string;
  readonly proto: string;
  /** The request target as the client sent it. */
  readonly uri: string;
}

export interface Response extends Message {
  /** 0 while there is no reply. */
  status: number;
}

/** Who calls, with the keys of a session's JSON. */
export interface Session {
  key_id: string; alias: string; org_id: string; last_check: number; allowance: number; rate: number; per: number; expires: number; quota_max: number; quota_renews: number;
  quota_remaining: number; quota_renewal_rate: number; oauth_client_id: string; oauth_keys: Record<string, string>; hmac_enabled: boolean; hmac_string: string;
  is_inactive: boolean; apply_policy_id: string; apply_policies: string[]; data_expires: number; enable_detailed_recording: boolean; meta_data: Record<string, string>;
  tags: string[]; last_updated: string; id_extractor_deadline: number; session_lifetime: number; certificate: string; max_query_depth: number; post_expiry_action: string;
  post_expiry_grace_period: number;
  basic_auth_data: { password: string; hash_type: string };
  jwt_data: { secret: string };
  monitor: { trigger_limits: number[] };
  access_rights: Record<string, { api_name: string; api_id: string; versions: string[]; allowed_urls: { url: string; methods: string[] }[] }>;
}

/** Of the client's certificate. Times are unix seconds, sha256 is hex. */
export interface Peer { subject: string; issuer: string; serial: string; dns_names: string[]; not_before: number; not_after: number; sha256: string }

/** One request and its reply, for one call. Do not keep it. */
export interface Exchange<Config = any> {
  readonly phase: Phase;
  readonly route: { id: string; name: string; org: string; listen_path: string; bundle: string };
  /** The configuration of the hook, else of the route; null when there is none. */
  readonly config: Config;
  readonly client: string;
  readonly client_port: number;
  readonly request_id: string;
  readonly trace: { parent: string; state: string };
  readonly peer: Peer | null;
  readonly request: Request;
  readonly response: Response;
  /** Ends at the call's deadline, and when nobody waits for the call any more. */
  readonly signal: AbortSignal;
  readonly answered: boolean;
  /** A copy of who calls; null when nobody. */
  readonly session: Session | null;
  /** Answers at once; in the response phase replaces the reply. The hook goes on, and response is the answer. */
  answer(status: number, headers?: HeaderLines | null, data?: Data | null): void;
  /** Ends hook and request with an error reply that the gateway makes: 400 to 599. */
  refuse(status: number, message: string, headers?: HeaderLines | null): never;
  /** Says who calls; null takes the identity away. */
  setSession(session: Partial<Session> | null): void;
  /** Says who calls: a session with a key and nothing else. */
  authenticate(key: string, alias?: string): void;
  /** What an earlier hook left. */
  value(name: string): any;
  /** Leaves a JSON value for later hooks; undefined takes it away. */
  setValue(name: string, value: unknown): void;
  rawValue(name: string): string | undefined;
  setRawValue(name: string, data?: Data | null): void;
  /** Writes to the gateway's log under the hook's name. */
  log(level: 'debug' | 'info' | 'warn' | 'error', message: unknown): void;
  /** Adds to a counter of the hook's own. */
  count(name: string, delta?: number): void;
}

/** A hook. What it throws is its failure; one that waits is an async function and holds no other call. */
export type Handle<Config = any> = (x: Exchange<Config>) => void | Promise<void>;

export interface Hook<Config = any> {
  /** Any, when absent and the hook is not called as a phase is. */
  phase?: Phase;
  needs?: Need[];
  /** With the need headers: these only. */
  headers?: string[];
  /** How long a body may be, in bytes. */
  body_limit?: number;
  handle: Handle<Config>;
}

/** An exchange that has ended. Times and durations are seconds, sizes bytes. */
export interface ExchangeRecord {
  time: number; duration: number; upstream: number; request_id: string; traceparent: string; tracestate: string; route: string; route_name: string; org: string;
  client: string; method: string; scheme: string; host: string; path: string; query: string; proto: string; user_agent: string; status: number; request_size: number;
  reply_size: number; target: string; answered_by: string; alias: string; key_hash: string; tags: string[]; error: string;
  /** Pairs of name and value: what the definition asks for this observer, as `headers` and `response_headers`. */
  header: [string, string][]; reply_header: [string, string][]; header_cut: boolean;
  hooks: { name: string; server: string; phase: string; outcome: string; duration: number; error: string }[];
}

/** Something that happened to an API, a caller or the gateway. */
export interface GatewayEvent { time: number; type: string; route: string; org: string; request_id: string; message: string; meta: Record<string, string> }

/** Takes one batch at a time. dropped is how many records and events were dropped before it. */
export type Observer = (batch: { records: ExchangeRecord[]; events: GatewayEvent[]; dropped: number }) => void | Promise<void>;

export interface Definition {
  name: string;
  version?: string;
  /** By name; a list where a name has hooks for several phases. */
  hooks?: Record<string, Handle | Hook | (Handle | Hook)[]>;
  observers?: Record<string, Observer>;
  /** JSON Schema of the configuration of the hooks. */
  config_schema?: object | string;
}

/** A plugin whose definition has been checked. */
export class Plugin {
  constructor(definition: Definition);
  /** The plugin of a module in the form of the gateway's scripts: exports.pre and the like. */
  static of(module: Record<string, any>, about: { name: string; version?: string }): Plugin;
  readonly name: string;
  readonly version: string;
}

export interface Options {
  /** Calls that a gateway may have outstanding on one stream; 1024. */
  credit?: number;
  /** Bytes of a message; 4 MiB. */
  maxMessage?: number;
  /** Milliseconds that calls may take to finish once the server stops; 10000. */
  drain?: number;
  /** Of these, milliseconds that gateways may take to find a server that has taken the address over; 1000. */
  handover?: number;
  /** Permissions of the unix socket; 0o600. */
  socketMode?: number;
  /** Whether to take a socket's path over from a server that still runs. */
  takeover?: boolean;
  /** Whether a host that starts plugins has started the process: it may stop it. serve finds that out itself. */
  hosted?: boolean;
  /** Is told, once the server has stopped, whether every call was answered. */
  onStopped?: (well: boolean) => void;
  /** Files, or PEM text. With clientCA, clients have to present a certificate. */
  tls?: { cert: string; key: string; clientCA?: string };
  /** Takes what goes wrong; console.error. */
  logger?: (line: string) => void;
}

/** A server of one plugin, in Turnbuckle's protocol and in Tyk's. */
export class Server {
  constructor(plugin: Plugin | Definition, options?: Options);
  /** Listens at unix:PATH, tcp://HOST:PORT or HOST:PORT, and resolves with the address once calls are taken. */
  listen(address: string): Promise<string>;
  /** Drains, and resolves to whether every call was answered. */
  stop(): Promise<boolean>;
}

/** Serves until SIGTERM or SIGINT, at options.listen, --listen or TURNBUCKLE_LISTEN. */
export function serve(plugin: Plugin | Definition, options?: Options & { listen?: string; args?: string[]; env?: Record<string, string | undefined> }): Promise<Server>;

/** What x.refuse throws. */
export class Refusal extends Error {
  readonly status: number;
}
