import { Data, Definition, HeaderLines, Headers, Phase, Plugin, Session } from '.';

export interface TestExchange {
  /** pre, unless the hook is called as a phase is. */
  phase?: Phase;
  method?: string;
  /** Path and query. */
  path?: string;
  host?: string;
  scheme?: string;
  client?: string;
  request_id?: string;
  headers?: HeaderLines;
  body?: Data;
  /** Of the client, DER. */
  peer?: Buffer;
  session?: Partial<Session>;
  values?: Record<string, unknown>;
  trace?: { parent: string; state?: string };
  config?: unknown;
  route?: { id?: string; name?: string; org?: string; listen_path?: string };
  /** The upstream's, for hooks of the response phase. */
  reply?: { status?: number; headers?: HeaderLines; body?: Data };
}

export interface TestResult {
  outcome: 'ok' | 'answered' | 'refused' | 'failed';
  error: { status?: number; message: string; headers: [string, string][] } | null;
  request: { method: string; path: string; query: string; headers: Headers; body?: string };
  reply: { status: number; headers: Headers; body?: string };
  session: Session | null;
  /** As text. */
  values: Record<string, string>;
  logs: { level: string; message: string }[];
  counters: Record<string, number>;
  /** Names of effects in the protocol. */
  changed: string[];
}

/** Runs a hook on an exchange, with no gateway. What the hook does not need is not there. */
export function run(plugin: Plugin | Definition, name: string, exchange?: TestExchange): Promise<TestResult>;
