import type { AnyAuthMethod, AuthHandlerMiddleware, AuthenticationType, BaseAgent, KeyboardInteractiveCallback, NextAuthHandler, ParsedKey, Prompt } from 'ssh2';
import { isError, messageOf } from '../../../core/errors.ts';
import { explicitIdentities, passphraseOf, publicHalf, readIdentity } from './identities.ts';
import { reveal } from '../reveal.ts';
import type { SshOptions, SshSettings } from './options.ts';
import type { Ssh2 } from './ssh2.ts';

/** Something to try. `open` gives undefined when it turns out that there is nothing to try. */
interface Candidate {
  readonly method: 'publickey' | 'password' | 'keyboard-interactive' | 'none';
  readonly label: string;
  open(): Promise<AnyAuthMethod | undefined>;
}

/** Why authentication cannot go on at all. */
export interface AuthenticationFault {
  readonly reason: 'AGENT' | 'AUTH_FAILED';
  readonly text: string;
  readonly cause?: unknown;
}

/**
 * The order in which one connection tries to authenticate: what the program named first (keys, agent, password,
 * keyboard-interactive), then the agent and the key files of the configuration. A method that the server does not
 * offer is kept for later: a second factor may be offered when the first has passed.
 */
export class Authentication {
  /** Called when it cannot go on. */
  onFault: (fault: AuthenticationFault) => void = () => undefined;
  readonly #ssh2: Ssh2;
  readonly #options: SshOptions;
  readonly #settings: SshSettings;
  readonly #waiting: Candidate[] = [];
  readonly #tried: string[] = [];
  readonly #skipped: string[] = [];
  /** Public keys that the server has seen, in base64: never twice, because servers count attempts. */
  readonly #shown = new Set<string>();
  #offered: readonly string[] = [];
  #current: Candidate | undefined;

  private constructor(ssh2: Ssh2, options: SshOptions, settings: SshSettings) {
    this.#ssh2 = ssh2;
    this.#options = options;
    this.#settings = settings;
  }

  /** Collects the candidates. Fails with BAD_KEY when a key that the program named cannot be used. */
  static async plan(ssh2: Ssh2, options: SshOptions, settings: SshSettings): Promise<Authentication> {
    const plan = new Authentication(ssh2, options, settings);
    const keys = await explicitIdentities(ssh2, options);
    for (const { source, key } of keys) plan.#add('publickey', `key of ${source}`, () => plan.#keyMethod(key));
    if (typeof options.agent === 'string') plan.#addAgent(options.agent);
    if (options.keyboardInteractive !== undefined) plan.#addKeyboardInteractive();
    if (options.password !== undefined) {
      const password = reveal(options.password);
      plan.#add('password', 'password', () => ({ type: 'password', username: settings.username, password }));
      if (options.keyboardInteractive === undefined) plan.#addKeyboardInteractive();
    }
    if (options.agent === undefined) plan.#addAgent(settings.config.identityAgent ?? process.env['SSH_AUTH_SOCK']);
    if (keys.length === 0) for (const path of settings.config.identityFiles) plan.#addConfiguredFile(path);
    if (plan.#waiting.length === 0) plan.#add('none', 'none', () => ({ type: 'none', username: settings.username }));
    return plan;
  }

  /** For ssh2's `authHandler`. */
  readonly handler: AuthHandlerMiddleware = (offered: readonly AuthenticationType[] | null, _partial, next) => {
    this.#offered = offered ?? [];
    this.#next(offered, next).catch((error: unknown) => {
      this.onFault({ reason: 'AUTH_FAILED', text: `authentication cannot go on: ${messageOf(error)}` });
    });
  };

  /** Takes an error that ssh2 shows although it goes on. True when that was such an error. */
  noteError(level: string | undefined, text: string): boolean {
    if (level === 'agent') {
      if (typeof this.#options.agent === 'string' && text.includes('connect')) this.onFault({ reason: 'AGENT', text: `the ssh-agent of option agent (${this.#options.agent}) cannot be reached; start it, or set agent: false` });
      this.#skipped.push(`${this.#current?.label ?? 'agent'} (${text})`);
      return true;
    }
    if (level === 'client-authentication' && text.startsWith('Error ')) {
      this.#skipped.push(`${this.#current?.label ?? 'key'} (${text})`);
      return true;
    }
    return false;
  }

  /** What was tried and what was not, for the message of a failure. */
  describe(): string {
    const parts = [this.#tried.length === 0 ? 'nothing was there to try' : `tried: ${this.#tried.join(', ')}`];
    if (this.#skipped.length > 0) parts.push(`skipped: ${this.#skipped.join(', ')}`);
    if (this.#offered.length > 0) parts.push(`the server accepts: ${this.#offered.join(', ')}`);
    return parts.join('; ');
  }

  async #next(offered: readonly string[] | null, next: NextAuthHandler): Promise<void> {
    for (;;) {
      const index = this.#waiting.findIndex((candidate) => offered === null || candidate.method === 'none' || offered.includes(candidate.method));
      const candidate = index < 0 ? undefined : this.#waiting.splice(index, 1)[0];
      this.#current = candidate;
      if (candidate === undefined) {
        // The declarations forget `false`, which ends authentication.
        next(false as never);
        return;
      }
      const method = await candidate.open();
      if (method === undefined) continue;
      if (candidate.method !== 'none') this.#tried.push(candidate.label);
      next(method);
      return;
    }
  }

  #add(method: Candidate['method'], label: string, open: () => AnyAuthMethod | undefined | Promise<AnyAuthMethod | undefined>): void {
    this.#waiting.push({ method, label, open: async () => open() });
  }

  #keyMethod(key: ParsedKey): AnyAuthMethod | undefined {
    return this.#showOnce(key) ? { type: 'publickey', username: this.#settings.username, key } : undefined;
  }

  #showOnce(key: ParsedKey): boolean {
    const id = key.getPublicSSH().toString('base64');
    if (this.#shown.has(id)) return false;
    this.#shown.add(id);
    return true;
  }

  #addConfiguredFile(path: string): void {
    this.#add('publickey', `key ${path}`, async () => {
      const identity = await readIdentity(this.#ssh2, path, passphraseOf(this.#options));
      if ('key' in identity) return this.#keyMethod(identity.key);
      if (!identity.problem.includes('ENOENT')) this.#skipped.push(`key ${path} (${identity.problem})`);
      return undefined;
    });
  }

  #addAgent(path: string | undefined): void {
    if (path === undefined || path === '' || path === 'none') return;
    this.#add('publickey', `agent ${path}`, async () => ({ type: 'agent', username: this.#settings.username, agent: await this.#agent(path) }));
  }

  /** The agent, showing the keys of configured files first, and only those with IdentitiesOnly, as ssh(1) does. */
  async #agent(path: string): Promise<BaseAgent> {
    const { identityFiles, identitiesOnly } = this.#settings.config;
    const halves = await Promise.all(identityFiles.map((file) => publicHalf(this.#ssh2, file)));
    const configured = new Set(halves.flatMap((half) => half?.toString('base64') ?? []));
    const agent = this.#ssh2.createAgent(path);
    const getIdentities = agent.getIdentities.bind(agent);
    agent.getIdentities = (done) => {
      getIdentities((error, listed) => {
        const keys = (listed ?? []).filter((key): key is ParsedKey => typeof key === 'object' && 'getPublicSSH' in key);
        const isConfigured = (key: ParsedKey): boolean => configured.has(key.getPublicSSH().toString('base64'));
        const ordered = [...keys.filter(isConfigured), ...(identitiesOnly ? [] : keys.filter((key) => !isConfigured(key)))];
        const fresh = ordered.filter((key) => this.#showOnce(key));
        if (!isError(error) && fresh.length === 0) this.#skipped.push(`agent ${path} (no other key in it)`);
        done(error, fresh);
      });
    };
    return agent;
  }

  #addKeyboardInteractive(): void {
    this.#add('keyboard-interactive', 'keyboard-interactive', () => ({
      type: 'keyboard-interactive',
      username: this.#settings.username,
      prompt: (name: string, instructions: string, _language: string, prompts: Prompt[], finish: KeyboardInteractiveCallback) => {
        this.#answer(name, instructions, prompts).then(finish, (error: unknown) => {
          this.onFault({ reason: 'AUTH_FAILED', text: 'the keyboardInteractive callback failed', cause: error });
        });
      },
    }));
  }

  async #answer(name: string, instructions: string, asked: readonly Prompt[]): Promise<string[]> {
    const prompts = asked.map(({ prompt, echo }) => ({ text: prompt, echo: echo ?? false }));
    const { keyboardInteractive, password } = this.#options;
    if (keyboardInteractive !== undefined) return (await keyboardInteractive({ name, instructions, prompts })).map(reveal);
    return prompts.map(({ echo }) => (echo || password === undefined ? '' : reveal(password)));
  }
}
