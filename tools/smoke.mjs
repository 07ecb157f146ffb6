// The smallest whole use of the built package: node tools/smoke.mjs <node of the child>
import assert from 'node:assert';
import os from 'node:os';
import { firstValueFrom, lastValueFrom, toArray } from 'rxjs';
import { Master } from '../dist/index.js';
import { count, fail, hangs, sum, version } from './smoke-tasks.mjs';

const records = [];
const master = new Master({ logger: { log: (level, message) => records.push(message) } });
const child = master.local({ nodePath: process.argv[2] });
assert.equal(await firstValueFrom(child.call(sum, 1, 2)), 3);
assert.equal(await firstValueFrom(child.call(version)), child.nodeVersion);
assert.equal(await firstValueFrom(child.call(os.hostname)), os.hostname());
assert.deepEqual(await lastValueFrom(child.call(count, 1000).pipe(toArray())), Array.from({ length: 1000 }, (_, index) => index));
await assert.rejects(firstValueFrom(child.call(fail)), { code: 'E_SMOKE', message: 'as asked' });
// The Node of the master itself, which gets a code cache.
assert.equal(await firstValueFrom(master.local().call(version)), process.version);
child.call(hangs).subscribe({ error: () => undefined });
await master.shutdown();
assert.deepEqual(records, ['counting']);
const { exit } = await firstValueFrom(child.closed);
assert.equal(exit.signal, 'SIGTERM');
console.log(`master ${process.version}, child ${child.nodeVersion}: ok`);
