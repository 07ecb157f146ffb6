import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { DoasOptions, TargetOptions } from 'tendril';
import * as place from './fixtures/place.ts';
import * as tasks from './fixtures/tasks.ts';
import { ACCOUNT_NEEDS } from './support/accounts.ts';
import { makeAccounts } from './support/as-account.ts';
import type { TestAccounts } from './support/as-account.ts';
import { needs } from './support/needs.ts';
import { failure, first, watchForLeaks, withTree } from './support/tree.ts';

/** doas reads no other file, and that of a person is not ours to change. */
const CONFIG = '/etc/doas.conf';
const taken = existsSync(CONFIG);
if (taken) process.stderr.write(`SKIPPED doas: this machine has a ${CONFIG} of its own, which the test would have to replace\n`);

(taken ? describe.skip : needs('doas', 'script', 'setpriv', ...ACCOUNT_NEEDS))(taken ? `doas (skipped: there is a ${CONFIG})` : 'doas', () => {
  watchForLeaks();
  let machine: TestAccounts<'asks' | 'free' | 'nobody'>;

  beforeAll(async () => {
    machine = await makeAccounts((['asks', 'free', 'nobody'] as const).map((name) => ({ name, shell: '/bin/sh' })));
    writeFileSync(CONFIG, `permit ${machine.accounts.asks.username}\npermit nopass ${machine.accounts.free.username}\n`, { mode: 0o600 });
  });
  afterAll(async () => {
    rmSync(CONFIG, { force: true });
    await machine.remove();
  });
  afterEach(async () => {
    for (let round = 0; round < 200 && machine.running('tendril:doas').length > 0; round++) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(machine.running('tendril:doas')).toEqual([]);
  });

  const by = (name: 'asks' | 'free' | 'nobody', more: DoasOptions = {}): DoasOptions & TargetOptions => ({ doasPath: machine.as(name, 'doas'), nodePath: machine.node, ...more });
  const refusal = (options: DoasOptions & TargetOptions): Promise<Error & { code?: string }> => {
    let error: (Error & { code?: string }) | undefined;
    return withTree({}, async ({ master, records }) => {
      error = await failure(master.doas(options).connected);
      expect(JSON.stringify(records)).not.toMatch(/assword: |wrong-password/);
    }).then(() => error!);
  };

  it('becomes root where no password is asked for', () =>
    withTree({}, async ({ master }) => {
      expect(await first(master.doas(by('free')).call(place.whoAmI))).toMatchObject({ uid: 0, user: 'root' });
      const { username, uid } = machine.accounts.asks;
      expect(await first(master.doas(by('free', { username })).call(place.whoAmI))).toMatchObject({ uid });
    }));

  it('becomes root by password on a terminal, which is seen nowhere', () =>
    withTree({}, async ({ master, records }) => {
      const { password } = machine.accounts.asks;
      const kid = master.doas(by('asks', { password }));
      expect(await first(kid.call(place.whoAmI))).toMatchObject({ uid: 0 });
      expect(await first(kid.call(tasks.sumBytes, new Uint8Array(3_000_000).fill(1)))).toBe(3_000_000);
      await kid.shutdown();
      expect(JSON.stringify(records)).not.toMatch(new RegExp(`assword|${password}`));
    }));

  it('tells a wrong password, a missing one and a missing right apart (REFERENCE 225)', async () => {
    expect(await refusal(by('asks', { password: 'wrong-password' }))).toMatchObject({ code: 'ERR_TENDRIL_AUTH_FAILED', message: expect.stringContaining('did not accept the option password') });
    expect(await refusal(by('asks'))).toMatchObject({ code: 'ERR_TENDRIL_AUTH_FAILED', message: expect.stringContaining('give the option password') });
    expect(await refusal(by('nobody'))).toMatchObject({ code: 'ERR_TENDRIL_PERMISSION_DENIED', message: expect.stringContaining('doas.conf') });
    expect(await refusal(by('free', { username: 'tendril-no-one' }))).toMatchObject({ code: 'ERR_TENDRIL_USER_UNKNOWN' });
  });

  it('says that there is no script(1) to make a terminal with (REFERENCE 135)', async () => {
    const { PATH } = process.env;
    process.env['PATH'] = '/nonexistent';
    try {
      expect(await refusal({ password: 'x' })).toMatchObject({ code: 'ERR_TENDRIL_TTY_REQUIRED', message: expect.stringContaining('script(1)') });
    } finally {
      process.env['PATH'] = PATH;
    }
  });
});
