import type { Keepalive, LogLevel } from '../../core/config.ts';
import { ChannelError, DecodeError, TendrilError } from '../../core/errors.ts';
import { printable } from '../connection/classify-exit.ts';
import { CONNECT_REASONS, ConnectError } from '../connection/connect-error.ts';
import type { ConnectPhase, ConnectReason } from '../connection/connect-error.ts';
import type { Closed } from '../connection/connection.ts';
import type { ExitStatus, OutputChunk } from '../connection/transport.ts';

/**
 * What a context is asked to connect (CONNECT). It goes from hop to hop: each adds the route and sees that the next has
 * the parts of the library that it takes, before it sends the request on.
 */
export interface ConnectRequest {
  /** The context that is to start the process. */
  readonly viaId: number;
  readonly id: number;
  readonly name: string;
  readonly title: string;
  /** Name of the connection method. */
  readonly method: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly bootTimeoutMs: number;
  /** What the configuration of the new context has from whoever asks, and not from its parent. */
  readonly logLevel: LogLevel;
  readonly profile: boolean;
  readonly keepalive: Keepalive | false | undefined;
  /** Where reports go. */
  readonly contextId: number;
  readonly handle: number;
}

/** Payload of CONNECT. */
export type ConnectMessage = readonly ['connect', ConnectRequest] | readonly ['end', id: number] | readonly ['detach', viaId: number, id: number];

/** An error as it travels in a report. */
export type ReportedError = readonly [reason: string | null, message: string, phase: string, output: string];

/** What the context that connects tells whoever asked. */
export type Report =
  | readonly ['booted', nodeVersion: string]
  | readonly ['output', stream: OutputChunk['stream'], line: string]
  | readonly ['ending', reason: Closed['reason'], error: ReportedError | null]
  | readonly ['closed', exit: ExitStatus | null];

/** Characters of a text in a report that are taken; a line of output may be longer, and is cut. */
const MAX_TEXT = 8192;
const MAX_LINE: number = 64 * 1024;
const PHASES: readonly string[] = ['transport', 'authentication', 'command', 'runtime', 'first-stage', 'core'];
const REASONS: readonly string[] = ['shutdown', 'failed', 'lost', 'detached'];
const STREAMS: readonly string[] = ['stdout', 'stderr', 'stdio'];

/** Stands for the reason where a connection was lost for want of a sign of life. */
const SILENT = 'SILENT';

/** Makes an error fit for a report. */
export function reportedError(error: Error | undefined): ReportedError | null {
  if (error === undefined) return null;
  if (error instanceof TendrilError && error.code === 'ERR_TENDRIL_SILENT') return [SILENT, cut(error.message), '', ''];
  return error instanceof ConnectError ? [error.reason, cut(error.message), error.phase, cut(error.output)] : [null, cut(error.message), '', ''];
}

/** Checks a report: it comes from below. Texts are cut and made safe to print. */
export function checkReport(value: unknown): Report {
  const [kind, first, second] = Array.isArray(value) ? (value as unknown[]) : [];
  if (kind === 'booted' && typeof first === 'string' && /^v\d+\.\d+[\w.+-]{0,64}$/.test(first)) return [kind, first];
  if (kind === 'output' && STREAMS.includes(first as string) && typeof second === 'string') return [kind, first as OutputChunk['stream'], second.slice(0, MAX_LINE)];
  if (kind === 'ending' && REASONS.includes(first as string)) return [kind, first as Closed['reason'], second === null ? null : checkError(second)];
  if (kind === 'closed') return [kind, first === null ? null : checkExit(first)];
  throw new DecodeError('a report about a connection has a field of the wrong kind');
}

/** The error that a report tells of, with the name of the context that has told. */
export function errorOf([reason, message, phase, output]: ReportedError, via: string): Error {
  const text = `via ${via}: ${message}`;
  if (reason === SILENT) return new TendrilError('ERR_TENDRIL_SILENT', text);
  return reason === null ? new ChannelError('respondent-gone', text) : new ConnectError(reason as ConnectReason, text, { phase: phase as ConnectPhase, output });
}

function checkError(value: unknown): ReportedError {
  const [reason, message, phase, output] = Array.isArray(value) ? (value as unknown[]) : [];
  const known = reason === null || reason === SILENT || (CONNECT_REASONS.includes(reason as ConnectReason) && PHASES.includes(phase as string));
  if (!known || typeof message !== 'string' || typeof output !== 'string') throw new DecodeError('a report about a connection has an error of the wrong kind');
  return [reason as string | null, printable(message, MAX_TEXT), phase as string, printable(output)];
}

function checkExit(value: unknown): ExitStatus {
  const { code, signal } = (value ?? {}) as { code?: unknown; signal?: unknown };
  const valid = (code === null || Number.isInteger(code)) && (signal === null || (typeof signal === 'string' && /^SIG[A-Z0-9]{1,12}$/.test(signal)));
  if (!valid) throw new DecodeError('a report about a connection has an exit status of the wrong kind');
  return { code: code as number | null, signal: signal };
}

function cut(text: string): string {
  return text.length > MAX_TEXT ? text.slice(-MAX_TEXT) : text;
}
