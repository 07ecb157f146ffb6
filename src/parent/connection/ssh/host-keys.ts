import type { ServerHostKeyAlgorithm } from 'ssh2';
import type { ConnectError } from '../connect-error.ts';
import { hostKeyError } from './classify.ts';
import { appendKnownHost, readKnownHosts } from './known-hosts-file.ts';
import { checkHostKey, knownHostNames, orderHostKeyAlgorithms } from './known-hosts.ts';
import type { KnownHost, KnownHostNames } from './known-hosts.ts';
import type { SshSettings, Warn } from './options.ts';

/** The host key policy of one connection, with the known hosts that were read for it. */
export class HostKeys {
  readonly #settings: SshSettings;
  readonly #entries: readonly KnownHost[];
  readonly #names: KnownHostNames;
  readonly #warn: Warn;
  #accepted: Buffer | undefined;

  private constructor(settings: SshSettings, entries: readonly KnownHost[], warn: Warn) {
    this.#settings = settings;
    this.#entries = entries;
    this.#names = knownHostNames(settings.host, settings.port, settings.config.hostKeyAlias);
    this.#warn = warn;
  }

  static async load(settings: SshSettings, warn: Warn): Promise<HostKeys> {
    return new HostKeys(settings, settings.hostKeys === 'ignore' ? [] : await readKnownHosts(settings.knownHostsFiles, warn), warn);
  }

  /** What to offer, where known keys ask for another order than ssh2's. */
  get algorithms(): ServerHostKeyAlgorithm[] | undefined {
    return orderHostKeyAlgorithms(this.#entries, this.#names);
  }

  /** The reason to refuse a key; undefined when it may be used. */
  refuse(key: Buffer): ConnectError | undefined {
    if (this.#settings.hostKeys === 'ignore') return undefined;
    const verdict = checkHostKey(this.#entries, this.#names, key);
    if (verdict.status === 'known') return undefined;
    if (verdict.status === 'unknown' && this.#settings.hostKeys === 'accept-new') {
      this.#accepted = key;
      return undefined;
    }
    return hostKeyError(verdict, key, this.#names.name, this.#settings.knownHostsFiles);
  }

  /** Writes down an accepted key. Only now has the host proved that the key is its own. */
  proved(): void {
    const file = this.#settings.knownHostsFiles[0];
    if (this.#accepted === undefined) return;
    if (file === undefined) this.#warn(`the host key of ${this.#names.name} was accepted but not written down: no known hosts file is set (option knownHosts)`);
    else appendKnownHost(file, this.#names.name, this.#accepted, { hashed: this.#settings.config.hashKnownHosts, warn: this.#warn });
    this.#accepted = undefined;
  }
}
