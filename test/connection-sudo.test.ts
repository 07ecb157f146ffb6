import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, it } from '@jest/globals';
import { Secret } from 'tendril';
import type { SudoOptions } from 'tendril';
import * as place from './fixtures/place.ts';
import * as tasks from './fixtures/tasks.ts';
import { ACCOUNT_NEEDS } from './support/accounts.ts';
import { makeAccounts } from './support/as-account.ts';
import type { TestAccounts } from './support/as-account.ts';
import { findProgram, needs } from './support/needs.ts';
import { failure, first, watchForLeaks, withTree } from './support/tree.ts';
import type { Tree } from './support/tree.ts';

const SHELLS = ['sh', 'bash', 'fish', 'csh'].filter((shell) => findProgram(shell) !== undefined);

/** Command lines and environments of all processes, in one text. */
function everythingShown(): string {
  return readdirSync('/proc').filter((pid) => /^\d+$/.test(pid)).flatMap((pid) => ['cmdline', 'environ'].map((file) => {
    try {
      return readFileSync(`/proc/${pid}/${file}`, 'latin1');
    } catch {
      return '';
    }
  })).join('\n');
}

needs('sudo', 'setpriv', ...ACCOUNT_NEEDS)('sudo', () => {
  watchForLeaks();
  type Name = 'asks' | 'free' | 'tty' | 'once' | 'nobody' | `login-${string}`;
  let machine: TestAccounts<Name>;
  const sudoers = `/etc/sudoers.d/tendril-test-${randomBytes(4).toString('hex')}`;

  beforeAll(async () => {
    const people = ['asks', 'free', 'tty', 'once', 'nobody'] as const;
    machine = await makeAccounts<Name>([...people.map((name) => ({ name, shell: '/bin/sh' })), ...SHELLS.map((shell) => ({ name: `login-${shell}` as const, shell: findProgram(shell) ?? '' }))]);
    const { asks, free, tty, once } = machine.accounts;
    writeFileSync(sudoers, [
      `${asks.username} ALL=(ALL) ALL`,
      `${free.username} ALL=(ALL) NOPASSWD: SETENV: ALL`,
      `${tty.username} ALL=(ALL) ALL`,
      `${once.username} ALL=(ALL) ALL`,
      `Defaults:${asks.username},${tty.username},${once.username} timestamp_timeout=0`,
      `Defaults:${once.username} passwd_tries=1, use_pty`,
      `Defaults:${tty.username} requiretty, use_pty`,
      '',
    ].join('\n'), { mode: 0o440 });
    execFileSync('visudo', ['-cqf', sudoers]);
  });
  afterAll(async () => {
    rmSync(sudoers, { force: true });
    await machine.remove();
  });
  afterEach(async () => {
    for (let round = 0; round < 200 && machine.running('tendril:sudo').length > 0; round++) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(machine.running('tendril:sudo')).toEqual([]);
  });

  const by = (name: Name, more: SudoOptions = {}): SudoOptions & { nodePath: string } => ({ sudoPath: machine.as(name, 'sudo'), nodePath: machine.node, ...more });
  const refusal = (options: SudoOptions): Promise<{ error: Awaited<ReturnType<typeof failure>>; log: string }> => {
    let log = '';
    let error: Awaited<ReturnType<typeof failure>> | undefined;
    return withTree({}, async ({ master, records }: Tree) => {
      const kid = master.sudo(options);
      error = await failure(kid.connected);
      await first(kid.closed);
      log = JSON.stringify(records);
    }).then(() => ({ error: error!, log }));
  };

  it('becomes root by password, which is seen nowhere', () =>
    withTree({}, async ({ master, records }) => {
      const { password } = machine.accounts.asks;
      const kid = master.sudo(by('asks', { password: new Secret(password) }));
      expect(await first(kid.call(place.whoAmI))).toMatchObject({ uid: 0, user: 'root', home: '/root' });
      // Nothing of the protocol was taken for a part of the password, or the other way round.
      expect(await first(kid.call(tasks.sumBytes, new Uint8Array(3_000_000).fill(1)))).toBe(3_000_000);
      expect(everythingShown()).not.toContain(password);
      await kid.shutdown();
      const log = JSON.stringify(records);
      expect(log).not.toContain('prompt');
      expect(log).not.toContain(password);
    }));

  it('refuses a wrong password (REFERENCE 225)', async () => {
    for (const name of ['asks', 'once'] as const) {
      const { error, log } = await refusal(by(name, { password: 'wrong-password' }));
      expect(error).toMatchObject({ code: 'ERR_TENDRIL_AUTH_FAILED', phase: 'authentication', message: expect.stringMatching(/did not accept the option password/) });
      expect(`${log}${JSON.stringify(error)}${error.message}${String(error.stack)}`).not.toContain('wrong-password');
      expect(log).not.toContain('tendril-sudo-prompt');
    }
  });

  it('says which option is missing where a password is asked for (REFERENCE 225)', async () => {
    const { error } = await refusal(by('asks'));
    expect(error).toMatchObject({ code: 'ERR_TENDRIL_AUTH_FAILED', message: expect.stringContaining('give the option password') });
  });

  it('needs no password where sudoers says so, and ignores one that is given', () =>
    withTree({}, async ({ master }) => {
      const { asks } = machine.accounts;
      const [plain, given] = [master.sudo(by('free', { username: asks.username })), master.sudo(by('free', { password: 'nobody asks' }))];
      expect(await first(plain.call(place.whoAmI))).toMatchObject({ uid: asks.uid, user: asks.username });
      expect(plain.name).toMatch(new RegExp(`^sudo\\.${asks.username}\\.`));
      expect(await first(given.call(tasks.add, 1, 2))).toBe(3);
    }));

  it('is refused to whom sudoers does not name, and for accounts that are not there', async () => {
    const { password } = machine.accounts.nobody;
    expect((await refusal(by('nobody', { password }))).error).toMatchObject({ code: 'ERR_TENDRIL_PERMISSION_DENIED', message: expect.stringContaining('sudoers') });
    expect((await refusal(by('free', { username: 'tendril-no-one' }))).error).toMatchObject({ code: 'ERR_TENDRIL_USER_UNKNOWN' });
  });

  it('says that a terminal is required, and makes one when it is asked to', () =>
    withTree({}, async ({ master, records }) => {
      const { password } = machine.accounts.tty;
      expect((await refusal(by('tty', { password }))).error).toMatchObject({ code: 'ERR_TENDRIL_TTY_REQUIRED', message: expect.stringContaining('option tty') });
      const kid = master.sudo(by('tty', { password, tty: true }));
      expect(await first(kid.call(place.whoAmI))).toMatchObject({ uid: 0 });
      expect(await first(kid.call(tasks.sumBytes, new Uint8Array(3_000_000).fill(1)))).toBe(3_000_000);
      await kid.shutdown();
      expect(JSON.stringify(records)).not.toContain(password);
      expect((await refusal(by('tty', { password: 'wrong', tty: true }))).error).toMatchObject({ code: 'ERR_TENDRIL_AUTH_FAILED' });
    }));

  it.each(SHELLS)('begins a login in an account whose shell is %s', (shell) =>
    withTree({}, async ({ master }) => {
      const { username, uid, home } = machine.accounts[`login-${shell}`]!;
      const kid = master.sudo(by('free', { username, login: true }));
      expect(await first(kid.call(place.whoAmI))).toEqual({ uid, user: username, home, cwd: home });
    }));

  it('keeps the environment when it is asked to', () =>
    withTree({}, async ({ master }) => {
      const home = machine.accounts.free.home;
      expect(await first(master.sudo(by('free', { preserveEnv: true })).call(place.variable, 'HOME'))).toBe(home);
      expect(await first(master.sudo(by('free', { preserveEnv: true, setHome: true })).call(place.variable, 'HOME'))).toBe('/root');
    }));

  it('ends with what it started, also when that hangs', () =>
    withTree({ graceMs: 500 }, async ({ master }) => {
      const { password } = machine.accounts.once;
      const kid = master.sudo(by('once', { password }));
      const spinning = failure(kid.call(tasks.spin));
      await first(kid.connected);
      await kid.shutdown();
      await spinning;
      expect(machine.running('tendril:sudo')).toEqual([]);
    }));

  it('says that Node is missing, or that sudo is', async () => {
    expect((await refusal({ ...by('free'), nodePath: 'node-that-is-not-there' } as SudoOptions)).error).toMatchObject({ code: 'ERR_TENDRIL_NODE_MISSING' });
    expect((await refusal({ sudoPath: '/nonexistent/sudo' })).error).toMatchObject({ code: 'ERR_TENDRIL_PROGRAM_MISSING', message: expect.stringContaining('sudoPath') });
  });
});
