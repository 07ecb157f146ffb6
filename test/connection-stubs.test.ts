import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import type { OpensshOptions } from 'tendril';
import * as place from './fixtures/place.ts';
import * as tasks from './fixtures/tasks.ts';
import { needs } from './support/needs.ts';
import { withFiles } from './support/programs.ts';
import { failure, first, watchForLeaks, withTree } from './support/tree.ts';

const nodePath = process.execPath;

/** Says on stderr what of its first three descriptors is a terminal, and whether it has one that it could open. */
const TERMINALS = 'for fd in 0 1 2; do [ -t $fd ] && echo "descriptor $fd is a terminal" >&2; done; (: </dev/tty) 2>/dev/null && echo "has a terminal" >&2';

/** Runs a test with a program of sh in place of a real tool. */
function withStub(script: string, test: (path: string) => Promise<void>): Promise<void> {
  return withFiles({ stub: `#!/bin/sh\n${script}\n` }, (directory) => {
    const path = join(directory, 'stub');
    chmodSync(path, 0o755);
    return test(path);
  });
}

/** What behaves as ssh: says what -v would have it say, asks on its terminal where it may, and runs the last argument. */
const SSH = `${TERMINALS}
echo 'debug1: Authenticating to web1:22' >&2
case " $* " in *' BatchMode=yes '*) ;; *)
  stty -echo </dev/tty
  printf "deploy@web1's password: " >/dev/tty
  read -r word </dev/tty
  [ "$word" = sesame ] || { echo 'deploy@web1: Permission denied (publickey,password).' >&2; exit 255; };;
esac
for line; do :; done
exec sh -c "$line"`;

describe('openssh, by a program that behaves as ssh does', () => {
  watchForLeaks();
  const login = (sshPath: string, more: Partial<OpensshOptions> = {}): OpensshOptions & { nodePath: string } => ({ host: 'web1', sshPath, nodePath, ...more });

  it('runs calls (REFERENCE 214), and what ssh says of itself is in the log, with the name of the context (REFERENCE 217)', () =>
    withStub(SSH, (stub) =>
      withTree({}, async ({ master, logged }) => {
        expect(await first(master.openssh({ ...login(stub), name: 'web' }).call(tasks.add, 1, 2))).toBe(3);
        expect(await logged(({ message }) => message.startsWith('debug1: '))).toMatchObject({ message: 'debug1: Authenticating to web1:22', context: 'web', stream: 'stdio' });
      }),
    ));

  it.each(['enforce', 'accept-new', 'ignore'] as const)('gets no terminal to %s host keys (REFERENCE 216)', (hostKeys) =>
    withStub(SSH, (stub) =>
      withTree({}, async ({ master, records }) => {
        const web = master.openssh(login(stub, { hostKeys }));
        expect(await first(web.call(place.hasTerminal))).toBe(false);
        await web.shutdown();
        expect(records.filter(({ message }) => message.includes('terminal'))).toEqual([]);
      }),
    ));

  needs('script')('that asks for a password', () => {
    it('gets a terminal, where it is answered (REFERENCE 216, 219)', () =>
      withStub(SSH, (stub) =>
        withTree({}, async ({ master, records }) => {
          const web = master.openssh(login(stub, { password: 'sesame' }));
          expect(await first(web.call(tasks.sumBytes, new Uint8Array(1_000_000).fill(1)))).toBe(1_000_000);
          await web.shutdown();
          expect(records.map(({ message }) => message)).toContain('has a terminal');
          expect(JSON.stringify(records)).not.toMatch(/sesame|password/);
          expect(await failure(master.openssh(login(stub, { password: 'wrong' })).connected)).toMatchObject({ code: 'ERR_TENDRIL_AUTH_FAILED' });
        }),
      ));
  });
});

needs('script')('a command with a terminal', () => {
  watchForLeaks();

  it('has one that it can open, and none as its input or output (REFERENCE 151)', () =>
    withTree({}, async ({ master, records }) => {
      const kid = master.command({ argv: ['sh', '-c', `${TERMINALS}; exec "$@"`, '-'], tty: true, nodePath });
      expect(await first(kid.call(place.hasTerminal))).toBe(true);
      await kid.shutdown();
      expect(records.flatMap(({ message }) => (message.includes('terminal') ? [message] : []))).toEqual(['has a terminal']);
    }));

  it('keeps it when sudo is one that lets the command take its place (REFERENCE 224)', () =>
    withStub('while [ "$1" != -- ]; do shift; done; shift; exec "$@"', (stub) =>
      withTree({}, async ({ master }) => {
        const kid = master.sudo({ sudoPath: stub, tty: true, nodePath });
        expect(await first(kid.call(place.hasTerminal))).toBe(true);
        expect(await first(kid.call(tasks.sumBytes, new Uint8Array(3_000_000).fill(1)))).toBe(3_000_000);
        expect(await first(kid.call(place.hasTerminal))).toBe(true);
      }),
    ));
});

describe('a tool that fails', () => {
  watchForLeaks();

  it('in two parts, as su does when it takes its time, is understood (REFERENCE 225)', () =>
    withStub("printf 'Password: ' >&2; read -r word; printf 'su: ' >&2; sleep 0.1; echo 'Authentication failure' >&2; exit 1", (stub) =>
      withTree({}, async ({ master, records }) => {
        expect(await failure(master.su({ suPath: stub, password: 'wrong', nodePath }).connected)).toMatchObject({ code: 'ERR_TENDRIL_AUTH_FAILED', phase: 'authentication', message: expect.stringContaining('check the option password') as unknown });
        expect(records.map(({ message }) => message)).toEqual(['su: Authentication failure']);
      }),
    ));

  it('at once, as lxc-attach may, is told with a hint for that tool where it says why, and with its exit status anyway (REFERENCE 227)', () =>
    withTree({}, async ({ master }) => {
      await withStub('echo "lxc-attach: $4: ../src/lxc/attach.c: get_attach_context: 406 Connection refused - Failed to get init pid" >&2; exit 1', async (lxcAttachPath) => {
        expect(await failure(master.lxc({ container: 'web', lxcAttachPath }).connected)).toMatchObject({ code: 'ERR_TENDRIL_TARGET_MISSING', phase: 'command', message: expect.stringContaining('lxc-ls') as unknown });
      });
      await withStub('exit 0', async (lxcAttachPath) => {
        expect(await failure(master.lxc({ container: 'web', lxcAttachPath }).connected)).toMatchObject({ code: 'ERR_TENDRIL_CONNECT_EOF', message: expect.stringContaining('exit status 0, no output') as unknown });
      });
    }));
});
