// The main job on one machine: an ssh server on loopback, a context over ssh, a local one, and what one does with them.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { catchError, concatMap, finalize, firstValueFrom, forkJoin, from, lastValueFrom, map, mergeMap, of, retry, takeUntil, tap, timeout, timer, toArray } from 'rxjs';
import { Master } from 'tendril';
import type { CallError } from 'tendril';
import { generateKeyPair, startSshServer } from 'tendril/testing';
import { facts, fibonacci, forever, load, speak } from './tasks.js';

const say = (text: string): void => {
  console.log(text);
};

const pids: number[] = [];
const running = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

const home = await mkdtemp(join(tmpdir(), 'tendril-demo-'));
const keys = await generateKeyPair('ed25519');
const server = await startSshServer({ users: { demo: { publicKeys: [keys.publicKey] } } });
await writeFile(join(home, 'known_hosts'), `${server.knownHostsLine}\n`);
say(`1. an ssh server listens on ${server.host}:${String(server.port)}; its key is in a known_hosts file`);

const master = new Master({ logger: { log: (level, message, { logger, stream }) => { say(`   log   ${level} [${logger}]${stream ? ` ${stream}:` : ''} ${message}`); } } });
const remote = master.ssh({
  name: 'remote',
  host: server.host,
  port: server.port,
  username: 'demo',
  privateKey: keys.privateKey,
  knownHosts: join(home, 'known_hosts'),
  sshConfig: false,
  agent: false,
  nodePath: process.execPath,
});
const local = master.local({ name: 'local' });

say('2. calls made while both contexts still connect:');
for (const context of [remote, local]) {
  const { pid, node, title } = await firstValueFrom(context.call(facts));
  pids.push(pid);
  say(`   ${context.name.padEnd(6)} pid ${String(pid)}, Node ${node}, ps shows "${title}"`);
}

say('3. calls composed with RxJS operators:');
const sums = from([20, 21, 22, 23]).pipe(
  mergeMap((n) => forkJoin([remote.call(fibonacci, n), local.call(fibonacci, n)]).pipe(map(([a, b]) => `fibonacci(${String(n)}) is ${String(a)} there and ${String(b)} here`)), 2),
  timeout(10_000),
  retry(1),
  toArray(),
);
for (const line of (await lastValueFrom(sums)).sort()) say(`   ${line}`);

say('4. values streamed from a remote observable, once a second, five times:');
await lastValueFrom(remote.call(load, 1000, 5).pipe(tap((value) => { say(`   load average ${value.toFixed(2)}`); })));

say('5. the log and the console of a remote function:');
await firstValueFrom(from([remote, local]).pipe(concatMap((context) => context.call(speak)), toArray()));

say('6. an error keeps its name, its message and the line where it was thrown:');
const failing = remote.call(fibonacci, Number.POSITIVE_INFINITY);
await lastValueFrom(failing.pipe(catchError((error: CallError) => of(`   ${error.remoteName}: ${error.message}, ${(error.remoteStack.split('\n')[1] ?? '').trim()}`)), map((line) => String(line)), tap(say)));

say('7. a call that would run for ever, cancelled by unsubscribing after half a second:');
await lastValueFrom(
  remote.call(forever).pipe(
    takeUntil(timer(500)),
    finalize(() => { say('   unsubscribed'); }),
  ),
  { defaultValue: undefined },
);

say('8. shutdown:');
await master.shutdown();
const left = [...pids.filter(running), ...server.processes];
await server.close();
await rm(home, { recursive: true });
say(`   processes left behind: ${String(left.length)}`);
if (left.length > 0) process.exitCode = 1;
