import { connect as connectTcp } from 'node:net';
import type { Socket } from 'node:net';
import { Observable } from 'rxjs';
import type { Client, ClientChannel } from 'ssh2';
import type { Broker } from '../../../core/broker/broker.ts';
import { ConnectError } from '../connect-error.ts';
import type { ConnectPhase } from '../connect-error.ts';
import type { FirstStage, Open, Transport } from '../transport.ts';
import { Authentication } from './authentication.ts';
import { classifySshError, closedError, timeoutError } from './classify.ts';
import type { SshWhere } from './classify.ts';
import { HostKeys } from './host-keys.ts';
import { checkOptions, connectTimeout, settle } from './options.ts';
import type { SshOptions, SshSettings } from './options.ts';
import { defaultSshConfig, querySshConfig } from './ssh-config.ts';
import { loadSsh2 } from './ssh2.ts';
import type { Ssh2 } from './ssh2.ts';
import { SshTransport } from './ssh-transport.ts';

export type { KeyboardInteractive, KeyboardInteractiveRequest, SshOptions } from './options.ts';

/** Milliseconds for one address of a host with several; Node's own 250 would give up on a host behind a slow line. */
const ADDRESS_TIMEOUT_MS = 1000;

/** What a server may say in its banner before the rest is dropped, in characters. */
const MAX_BANNER = 4096;

/**
 * Starts the first stage in the login shell of an account, over ssh2: one connection for each context. Host keys are
 * checked (docs/errors.md, HOST_KEY_...), nothing ever prompts, and each phase has a time limit.
 */
export const openSsh: Open<SshOptions> = (options, stage, broker) =>
  new Observable<Transport>((subscriber) => {
    const abort = new AbortController();
    connect(options, stage, broker, abort.signal).then(
      (transport) => {
        if (abort.signal.aborted) transport.kill('SIGKILL');
        subscriber.next(transport);
        subscriber.complete();
      },
      (error: unknown) => {
        subscriber.error(asConnectError(error, options));
      },
    );
    return () => {
      abort.abort();
    };
  });

function asConnectError(error: unknown, options: SshOptions): ConnectError {
  const where = { host: options.host, port: options.port ?? 22, username: options.username ?? '', phase: 'transport', attempts: '', banner: '', proxy: undefined } as const;
  return classifySshError(error, where);
}

async function connect(options: SshOptions, stage: FirstStage, broker: Broker, signal: AbortSignal): Promise<Transport> {
  checkOptions(options);
  const ssh2 = await loadSsh2();
  const query = { host: options.host, port: options.port, user: options.username, ...(typeof options.sshConfig === 'string' ? { file: options.sshConfig } : {}) };
  const config = options.sshConfig === false ? defaultSshConfig(query) : await querySshConfig(query, broker, { timeoutMs: connectTimeout(options), signal });
  const settings = settle(options, config);
  const warn = options.onWarning ?? ((text: string): void => { broker.report(text, `ssh to ${settings.host}`); });
  const authentication = await Authentication.plan(ssh2, options, settings);
  const hostKeys = await HostKeys.load(settings, warn);
  signal.throwIfAborted();
  return new Attempt({ ssh2, settings, authentication, hostKeys, stage, broker, signal }).transport;
}

interface AttemptParts {
  readonly ssh2: Ssh2;
  readonly settings: SshSettings;
  readonly authentication: Authentication;
  readonly hostKeys: HostKeys;
  readonly stage: FirstStage;
  readonly broker: Broker;
  readonly signal: AbortSignal;
}

/** One connection on its way from the socket to the started command. */
class Attempt {
  readonly transport: Promise<Transport>;
  readonly #parts: AttemptParts;
  readonly #socket: Socket;
  readonly #client: Client;
  #phase: ConnectPhase = 'transport';
  #timer: { unsubscribe(): void } | undefined;
  #banner = '';
  #settled = false;
  #resolve: (transport: Transport) => void = () => undefined;
  #reject: (error: ConnectError) => void = () => undefined;

  constructor(parts: AttemptParts) {
    this.#parts = parts;
    this.transport = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    const { settings, ssh2, signal, authentication } = parts;
    // ssh2 gets a socket that is ours: without Nagle for the handshake too, and closed at will.
    this.#socket = connectTcp({ host: settings.host, port: settings.port, noDelay: true, autoSelectFamilyAttemptTimeout: ADDRESS_TIMEOUT_MS });
    this.#client = new ssh2.Client();
    signal.addEventListener('abort', this.#onAbort);
    authentication.onFault = ({ reason, text, cause }) => {
      this.#fail(new ConnectError(reason, text, { phase: this.#phase, cause }));
    };
    this.#enter('transport', settings.connectTimeoutMs);
    this.#listen();
    try {
      this.#start();
    } catch (error) {
      this.#fail(classifySshError(error, this.#where()));
    }
  }

  #start(): void {
    const { settings, authentication, hostKeys } = this.#parts;
    const { algorithms } = hostKeys;
    this.#client.connect({
      sock: this.#socket,
      username: settings.username,
      authHandler: authentication.handler,
      hostVerifier: (key: Buffer) => {
        const refusal = hostKeys.refuse(key);
        if (refusal !== undefined) this.#fail(refusal);
        return refusal === undefined;
      },
      ...(algorithms === undefined ? {} : { algorithms: { serverHostKey: algorithms } }),
      keepaliveInterval: settings.keepaliveIntervalMs,
      keepaliveCountMax: settings.keepaliveCountMax,
      readyTimeout: 0,
    });
  }

  #listen(): void {
    const { settings, authentication, hostKeys } = this.#parts;
    this.#client
      .on('banner', (text) => { this.#banner = (this.#banner + text).slice(-MAX_BANNER); })
      .on('change password', () => {
        this.#fail(new ConnectError('AUTH_FAILED', `the password of ${settings.username}@${settings.host} has expired: the server asks for a new one; log in by hand to set it`, { phase: this.#phase }));
      })
      .on('error', (error) => {
        if (authentication.noteError(error.level, error.message)) return;
        this.#fail(classifySshError(error, this.#where()));
      })
      .on('close', () => { this.#fail(closedError(this.#where())); })
      .on('ready', () => { this.#run(); });
    this.#client.once('handshake', () => {
      hostKeys.proved();
      this.#enter('authentication', settings.authTimeoutMs);
    });
  }

  /** Starts the command. The transport is made in the very callback: output and exit may be the next packets. */
  #run(): void {
    if (this.#settled) return;
    const { stage, broker, settings } = this.#parts;
    this.#enter('command', settings.commandTimeoutMs);
    this.#client.exec(stage.shellLine, (error: Error | undefined, channel: ClientChannel) => {
      if (error !== undefined) {
        this.#fail(classifySshError(error, this.#where()));
        return;
      }
      if (!this.#finish()) return;
      this.#resolve(new SshTransport(this.#client, this.#socket, channel, broker));
    });
  }

  #enter(phase: ConnectPhase, milliseconds: number): void {
    if (this.#settled) return;
    this.#timer?.unsubscribe();
    this.#phase = phase;
    this.#timer = this.#parts.broker.after(milliseconds, () => {
      this.#fail(timeoutError(this.#where(), milliseconds, !this.#socket.connecting));
    });
  }

  readonly #onAbort = (): void => {
    this.#fail(new ConnectError('CANCELLED', `the connection to ${this.#parts.settings.host} was given up`, { phase: this.#phase }));
  };

  #fail(error: ConnectError): void {
    if (!this.#finish()) return;
    this.#socket.destroy();
    this.#reject(error);
  }

  /** True the first time. The error listener stays: ssh2 may still speak, and an unheard error ends the process. */
  #finish(): boolean {
    if (this.#settled) return false;
    this.#settled = true;
    this.#timer?.unsubscribe();
    this.#parts.signal.removeEventListener('abort', this.#onAbort);
    return true;
  }

  #where(): SshWhere {
    const { settings, authentication } = this.#parts;
    return { host: settings.host, port: settings.port, username: settings.username, phase: this.#phase, attempts: authentication.describe(), banner: this.#banner, proxy: settings.config.proxy };
  }
}
