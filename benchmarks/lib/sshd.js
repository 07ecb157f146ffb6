// A real OpenSSH server on loopback, with throw-away keys, for the account that runs the benchmarks.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join } from 'node:path';

const SSHD = '/usr/sbin/sshd';

/** The programs that are needed and not here. */
export function missing() {
  return [SSHD, '/usr/bin/ssh', '/usr/bin/ssh-keygen'].filter((path) => !existsSync(path));
}

async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  await once(probe, 'close');
  return port;
}

/** Starts the server. `config` is a file for `ssh -F` that knows it as the host `bench`. */
export async function startSshd() {
  const directory = mkdtempSync(join(tmpdir(), 'tendril-bench-'));
  const path = (name) => join(directory, name);
  let server;
  let port;
  const close = async () => {
    if (server && server.exitCode === null && server.signalCode === null) {
      const over = once(server, 'exit');
      server.kill('SIGTERM');
      await over;
    }
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    for (const key of ['host', 'user']) execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', path(key)]);
    // Root's sshd does not start without this empty directory, which an init script makes at boot.
    if (userInfo().uid === 0) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
    port = await freePort();
    writeFileSync(path('sshd_config'), [
      `Port ${port}`, 'ListenAddress 127.0.0.1', `HostKey ${path('host')}`, 'PidFile none', 'UsePAM no', 'UseDNS no', 'StrictModes no',
      `AuthorizedKeysFile ${path('user.pub')}`, 'PasswordAuthentication no', 'KbdInteractiveAuthentication no', 'PermitRootLogin yes', 'MaxStartups 100',
      'Subsystem sftp internal-sftp', `SetEnv PATH=${dirname(process.execPath)}:/usr/local/bin:/usr/bin:/bin`, '',
    ].join('\n'));
    writeFileSync(path('known_hosts'), `[127.0.0.1]:${port} ${readFileSync(path('host.pub'), 'utf8')}`);
    writeFileSync(path('config'), [
      'Host bench', 'HostName 127.0.0.1', `Port ${port}`, `User ${userInfo().username}`, `IdentityFile ${path('user')}`, 'IdentitiesOnly yes', 'IdentityAgent none',
      `UserKnownHostsFile ${path('known_hosts')}`, 'GlobalKnownHostsFile /dev/null', 'StrictHostKeyChecking yes', '',
    ].join('\n'));
    server = spawn(SSHD, ['-D', '-e', '-f', path('sshd_config')], { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    await new Promise((resolve, reject) => {
      server.stderr.setEncoding('utf8').on('data', (text) => {
        said = (said + text).slice(-4096);
        if (said.includes('Server listening on')) resolve();
      });
      server.once('exit', () => { reject(new Error(`sshd does not start: ${said}`)); });
    });
  } catch (error) {
    await close();
    throw error;
  }
  return { config: path('config'), port, user: userInfo().username, key: path('user'), close };
}
