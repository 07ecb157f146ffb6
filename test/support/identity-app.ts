import { cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** `(module (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add))` */
const ADD_WASM = '0061736d0100000001070160027f7f017f030201000707010361646400000a09010700200020016a0b';
const fixture = fileURLToPath(new URL('../fixtures/identity/', import.meta.url));

/** An application of its own on the disk: with installed packages, and one that is a link to a workspace of its own. */
export interface IdentityApp {
  readonly directory: string;
  readonly suite: URL;
  /** Loads the suite in plain Node and prints its results: `node <runner> <suite>`. */
  readonly runner: string;
  remove(): void;
}

/** Lays the application out in a new directory, as npm would: a repository cannot hold `node_modules`. */
export function layOutIdentityApp(): IdentityApp {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'tendril-identity-')));
  cpSync(join(fixture, 'app'), directory, { recursive: true });
  cpSync(join(fixture, 'installed'), join(directory, 'node_modules'), { recursive: true });
  mkdirSync(join(directory, 'node_modules/@workspace'));
  symlinkSync('../../packages/linked', join(directory, 'node_modules/@workspace/linked'));
  writeFileSync(join(directory, 'assets/add.wasm'), Buffer.from(ADD_WASM, 'hex'));
  return {
    directory,
    suite: pathToFileURL(join(directory, 'suite.mjs')),
    runner: join(fixture, 'runner.mjs'),
    remove: () => {
      rmSync(directory, { recursive: true });
    },
  };
}
