import { execFileSync } from 'node:child_process';
import { afterAll, afterEach, beforeAll, expect, it, jest } from '@jest/globals';
import type { CommandOptions, SuOptions, TargetOptions } from 'tendril';
import * as place from './fixtures/place.ts';
import * as tasks from './fixtures/tasks.ts';
import { ACCOUNT_NEEDS } from './support/accounts.ts';
import { makeAccounts } from './support/as-account.ts';
import type { TestAccounts } from './support/as-account.ts';
import { findProgram, needs } from './support/needs.ts';
import { failure, first, watchForLeaks, withTree } from './support/tree.ts';

const SHELLS = ['sh', 'bash', 'fish', 'csh'].filter((shell) => findProgram(shell) !== undefined);

needs('su', 'setpriv', ...ACCOUNT_NEEDS)('su', () => {
  watchForLeaks();
  type Name = 'asks' | 'nologin' | `login-${string}`;
  let machine: TestAccounts<Name>;

  beforeAll(async () => {
    machine = await makeAccounts<Name>([
      { name: 'asks', shell: '/bin/sh' },
      { name: 'nologin', shell: '/usr/sbin/nologin' },
      ...SHELLS.map((shell) => ({ name: `login-${shell}` as const, shell: findProgram(shell) ?? '' })),
    ]);
  });
  afterAll(() => machine.remove());
  afterEach(async () => {
    for (let round = 0; round < 200 && machine.running('tendril:su').length > 0; round++) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(machine.running('tendril:su')).toEqual([]);
  });

  const target = (name: Name): { username: string; uid: number; home: string; password: string } => machine.accounts[name]!;
  const by = (name: Name, more: SuOptions = {}): SuOptions & TargetOptions => ({ username: target(name).username, nodePath: machine.node, ...more });
  const refusal = (options: SuOptions & TargetOptions): Promise<Error & { code?: string }> => {
    let error: (Error & { code?: string }) | undefined;
    return withTree({}, async ({ master, records }) => {
      error = await failure(master.su(options).connected);
      expect(JSON.stringify(records)).not.toMatch(/Password: ?[^ ]|wrong-password/);
    }).then(() => error!);
  };

  it.each(SHELLS)('becomes an account whose shell is %s, with and without a login', (shell) =>
    withTree({}, async ({ master }) => {
      const { username, uid, home } = target(`login-${shell}`);
      const [plain, login] = [false, true].map((login) => master.su(by(`login-${shell}`, { login })));
      expect(await first(plain!.call(place.whoAmI))).toMatchObject({ uid, user: username, home, cwd: process.cwd() });
      expect(await first(login!.call(place.whoAmI))).toEqual({ uid, user: username, home, cwd: home });
    }));

  it('becomes another account by its password, which is seen nowhere', () =>
    withTree({}, async ({ master, records }) => {
      const { uid, password } = target('login-sh');
      const kid = master.su(by('login-sh', { password, suPath: machine.as('asks', 'su') }));
      expect(await first(kid.call(place.whoAmI))).toMatchObject({ uid });
      expect(await first(kid.call(tasks.sumBytes, new Uint8Array(3_000_000).fill(1)))).toBe(3_000_000);
      await kid.shutdown();
      expect(JSON.stringify(records)).not.toMatch(new RegExp(`Password|${password}`));
    }));

  it('refuses a wrong password, and says which option is missing (REFERENCE 225)', async () => {
    const suPath = machine.as('asks', 'su');
    expect(await refusal(by('login-sh', { suPath, password: 'wrong-password' }))).toMatchObject({ code: 'ERR_TENDRIL_AUTH_FAILED', phase: 'authentication', message: expect.stringContaining('check the option password') });
    expect(await refusal(by('login-sh', { suPath }))).toMatchObject({ code: 'ERR_TENDRIL_AUTH_FAILED', message: expect.stringContaining('give the option password') });
  });

  it('says that an account is not there, or has no shell, and takes another shell', async () => {
    expect(await refusal({ username: 'tendril-no-one' })).toMatchObject({ code: 'ERR_TENDRIL_USER_UNKNOWN' });
    expect(await refusal(by('nologin'))).toMatchObject({ code: 'ERR_TENDRIL_PERMISSION_DENIED' });
    await withTree({}, async ({ master }) => {
      expect(await first(master.su(by('nologin', { shell: '/bin/sh' })).call(place.whoAmI))).toMatchObject({ uid: target('nologin').uid });
    });
  });
});

needs('root', 'setpriv', 'script')('a command of your own', () => {
  watchForLeaks();
  const failed = (options: CommandOptions & TargetOptions): Promise<Error & { code?: string }> => {
    let error: (Error & { code?: string }) | undefined;
    return withTree({}, async ({ master }) => { error = await failure(master.command(options).connected); }).then(() => error!);
  };

  it.each([
    ['env', ['env', 'MARKED=yes']],
    ['nice', ['nice', '-n', '5', 'env', 'MARKED=yes']],
    ['setpriv', ['setpriv', '--no-new-privs', 'env', 'MARKED=yes']],
    ['unshare', ['unshare', '--uts', '--mount', 'env', 'MARKED=yes']],
  ])('is any prefix: %s', (_name, argv) =>
    withTree({}, async ({ master }) => {
      const kid = master.command({ argv, nodePath: process.execPath });
      expect(await first(kid.call(place.variable, 'MARKED'))).toBe('yes');
    }));

  it('can be one that takes a line for a shell', () =>
    withTree({}, async ({ master }) => {
      const kid = master.command({ argv: ['sh', '-c'], takes: 'line', env: { MARKED: 'line' }, nodePath: process.execPath });
      expect(await first(kid.call(place.variable, 'MARKED'))).toBe('line');
    }));

  it('can ask for a password, on stderr or on a terminal', () =>
    withTree({}, async ({ master, records }) => {
      const onStderr = 'printf "Your word, please: " >&2; read -r word; [ "$word" = "sesam öffne dich" ] || exit 9; exec "$@"';
      const onTerminal = 'stty -echo </dev/tty; printf "Your word, please: " >/dev/tty; read -r word </dev/tty; [ "$word" = "sesam öffne dich" ] || exit 9; exec "$@"';
      for (const [script, tty] of [[onStderr, false], [onTerminal, true]] as const) {
        const options = { argv: ['sh', '-c', script, '-'], prompt: 'word, please: ', tty, nodePath: process.execPath };
        const kid = master.command({ ...options, password: 'sesam öffne dich' });
        expect(await first(kid.call(tasks.sumBytes, new Uint8Array(1_000_000).fill(1)))).toBe(1_000_000);
        expect(await failure(master.command(options).connected)).toMatchObject({ code: 'ERR_TENDRIL_AUTH_FAILED', message: expect.stringContaining('give the option password') });
        expect(await failure(master.command({ ...options, password: 'x' }).connected)).toMatchObject({ code: 'ERR_TENDRIL_CONNECT_EOF' });
      }
      expect(JSON.stringify(records)).not.toMatch(/Your word|sesam/);
    }));

  it('that runs as another account, out of our reach, is let go', () =>
    withTree({ graceMs: 50 }, async ({ master, logged }) => {
      const kid = master.command({ argv: ['sh', '-c', 'echo "pid $$" >&2; exec sleep 1000'], bootTimeoutMs: 300 });
      const pid = Number((await logged(({ message }) => message.startsWith('pid '))).message.slice(4));
      const { kill } = process;
      const refused = jest.spyOn(process, 'kill').mockImplementation((target) => {
        if (target === -pid) throw Object.assign(new Error('kill EPERM'), { code: 'EPERM' });
        return kill.call(process, target);
      });
      try {
        const closed = await first(kid.closed);
        expect(closed).toMatchObject({ reason: 'failed', error: { code: 'ERR_TENDRIL_CONNECT_TIMEOUT' }, exit: { code: null, signal: null } });
      } finally {
        refused.mockRestore();
        process.kill(-pid, 'SIGKILL');
      }
    }));

  it('whose program is missing, or ends, fails with what it said (REFERENCE 227)', async () => {
    expect(await failed({ argv: ['/nonexistent/program'] })).toMatchObject({ code: 'ERR_TENDRIL_PROGRAM_MISSING' });
    expect(await failed({ argv: ['sh', '-c', 'echo it rains >&2; exit 3'] })).toMatchObject({ code: 'ERR_TENDRIL_CONNECT_EOF', message: expect.stringMatching(/exit status 3.*it rains/) });
  });
});

needs('root', 'ip')('ip netns exec', () => {
  watchForLeaks();

  it('is a command like any other', () =>
    withTree({}, async ({ master }) => {
      const name = `tendril-${String(process.pid)}`;
      execFileSync('ip', ['netns', 'add', name]);
      try {
        const kid = master.command({ argv: ['ip', 'netns', 'exec', name], nodePath: process.execPath });
        expect(await first(kid.call(place.interfaces))).toEqual([]);
        await kid.shutdown();
      } finally {
        execFileSync('ip', ['netns', 'delete', name]);
      }
      expect(await failure(master.command({ argv: ['ip', 'netns', 'exec', name] }).connected)).toMatchObject({ code: 'ERR_TENDRIL_TARGET_MISSING' });
    }));
});
