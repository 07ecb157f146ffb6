import { describe, expect, it } from '@jest/globals';
import { classifyExit, printable } from '../src/parent/connection/classify-exit.ts';

/** Texts of real programs: what they print and how they end when the first stage cannot run. */
const TEXTS: readonly [reason: string, code: number, text: string][] = [
  // sh -c 'exec node ...' without Node
  ['NODE_MISSING', 127, 'sh: 1: exec: node: not found\n'],
  ['NODE_MISSING', 127, '-: 1: exec: nodexx: not found'],
  ['NODE_MISSING', 127, '-: line 1: exec: nodexx: not found'],
  ['NODE_MISSING', 127, 'bash: line 1: exec: node: not found'],
  ['NODE_MISSING', 127, '-: exec: line 0: nodexx: not found'],
  ['NODE_MISSING', 127, 'sh: node: inaccessible or not found'],
  ['NODE_MISSING', 127, 'zsh:1: command not found: node'],
  ['NODE_MISSING', 127, 'node: Command not found.'],
  ['NODE_MISSING', 127, 'fish: Unknown command: node\nfish: \nnode -e 0\n^~~^'],
  ["NODE_MISSING", 127, "fish: Unknown command 'node'"],
  ['NODE_MISSING', 127, 'bash: line 1: /opt/node/bin/node: No such file or directory'],
  ['NODE_MISSING', 127, ''],
  ['NODE_MISSING', 1, 'sudo: node: command not found'],
  ['NODE_MISSING', 1, 'PROMPT:sudo: nodexx: command not found'],
  ['NODE_MISSING', 126, 'OCI runtime exec failed: exec failed: unable to start container process: exec: "node": executable file not found in $PATH: unknown\r\n'],
  ['NODE_MISSING', 127, 'rxm: no usable Node.js (>=20) found'],
  ['NODE_MISSING', 127, "env: 'node': No such file or directory".replaceAll("'", '')],
  ['NODE_MISSING', 126, 'bash: line 1: /usr/bin/node: cannot execute binary file: Exec format error'],
  ['NODE_MISSING', 126, 'sh: 1: exec: node: Exec format error'],
  ['NODE_MISSING', 127, 'bash: line 1: /opt/node/bin/node: cannot execute: required file not found'],
  ['NODE_MISSING', 1, "node: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.28' not found (required by node)"],
  ['NODE_MISSING', 127, 'node: error while loading shared libraries: libatomic.so.1: cannot open shared object file: No such file or directory'],
  ['NODE_MISSING', 127, 'Error loading shared library libstdc++.so.6: No such file or directory (needed by /usr/bin/node)'],
  // it is there but may not be run
  ['PERMISSION_DENIED', 126, '-: 1: exec: /etc/passwd: Permission denied'],
  ['PERMISSION_DENIED', 126, 'sh: 1: exec: /usr/local/bin/node: Permission denied'],
  ['PERMISSION_DENIED', 126, 'bash: line 1: /opt/node/bin/node: Permission denied'],
  ['PERMISSION_DENIED', 126, '/opt/node/bin/node: Permission denied.'],
  ['PERMISSION_DENIED', 126, ''],
  ['PERMISSION_DENIED', 1, 'This account is currently not available.\n'],
  ['PERMISSION_DENIED', 1, 'This service allows sftp connections only.\r\n'],
  // Node 0.12 and 4, 8, 10
  ['NODE_TOO_OLD', 1, '[eval]:1\n(function(P,b,r){...})(process)\n        ^\nReferenceError: fs is not defined\n    at [eval]:1:222'],
  ['NODE_TOO_OLD', 1, 'TypeError: Buffer.alloc is not a function\n    at r ([eval]:1:40)'],
  ['NODE_TOO_OLD', 1, "TypeError: Object function Buffer(subject, encoding, offset) { has no method 'alloc'"],
  ['NODE_TOO_OLD', 1, '[eval]:1\nTypeError: zlib.brotliDecompressSync is not a function'],
  // everything else
  ['CONNECT_EOF', 1, 'Welcome to web1\nbash: /etc/profile: line 3: oops'],
  ['CONNECT_EOF', 0, ''],
  ['CONNECT_EOF', 255, 'Connection closed by 10.0.0.1 port 22'],
  ['CONNECT_EOF', 127, 'sh: Command not found.'],
  ['CONNECT_EOF', 126, 'OCI runtime exec failed: exec failed: unable to start container process: exec: "sh": executable file not found in $PATH: unknown'],
];

describe('classifyExit', () => {
  it.each(TEXTS)('%s: exit status %i, %j', (reason, code, output) => {
    const error = classifyExit({ phase: 'first-stage', output, exit: { code, signal: null } });
    expect(error).toMatchObject({ name: 'ConnectError', reason, code: `ERR_TENDRIL_${reason}`, phase: 'first-stage' });
    expect(error.message).toContain(`exit status ${String(code)}`);
  });

  it('looks at output after a banner, takes bytes, and shows the last line', () => {
    const error = classifyExit({ phase: 'first-stage', output: Buffer.from('Ünwelcome\u001b[31m\nsh: 1: exec: node: not found\n'), exit: { code: 127, signal: null } });
    expect(error.reason).toBe('NODE_MISSING');
    expect(error.message).toContain('last output: sh: 1: exec: node: not found');
    expect(error.output).toBe('Ünwelcome\ufffd[31m\nsh: 1: exec: node: not found\n');
  });

  it('tells signals, lost connections and end of file apart', () => {
    const message = (exit: { code: number | null; signal: string | null } | undefined): string => classifyExit({ phase: 'core', output: '', exit }).message;
    expect(message({ code: null, signal: 'SIGKILL' })).toContain('ended by SIGKILL');
    expect(message({ code: null, signal: null })).toContain('connection lost');
    expect(message(undefined)).toContain('end of file');
  });
});

describe('printable', () => {
  it('replaces what would act on a terminal', () => {
    expect(printable('a\u001b]0;title\u0007b\r\nc\rd\te\u009bf\u202eg\u0000')).toBe('a\ufffd]0;title\ufffdb\nc\ufffdd\te\ufffdf\ufffdg\ufffd');
  });

  it.each(['x', 'é', '€', '😀', '\u0001', '\ud83d'])('keeps the last 4 KiB of a long text of %j, whole characters only', (unit) => {
    const text = printable(`begin${unit.repeat(20_000)}end`);
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(4096);
    expect(Buffer.byteLength(text)).toBeGreaterThan(4080);
    expect(text.endsWith('end')).toBe(true);
    expect(Buffer.from(text, 'utf8').toString('utf8')).toBe(text);
  });

  it('leaves a short text alone', () => {
    expect(printable('Grüße, 世界\n')).toBe('Grüße, 世界\n');
  });
});
