import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** A page of documentation whose examples can be run. */
export class Page {
  readonly text: string;

  /** @param path - below the root of the project */
  constructor(path: string) {
    this.text = readFileSync(join(root, path), 'utf8');
  }

  /** Names of the examples, in their order. */
  get examples(): readonly string[] {
    return [...this.text.matchAll(/<!-- example: (\w+) -->/g)].map(([, name]) => name ?? '');
  }

  /** What the page says that an example prints. */
  expected(name: string): string | undefined {
    return this.#blocks(`output: ${name}`)[0];
  }

  /** What it prints: its files in a directory of their own, beside the package as a user gets it. The last one is run. */
  async run(name: string): Promise<string> {
    const directory = mkdtempSync(join(tmpdir(), 'tendril-page-'));
    try {
      mkdirSync(join(directory, 'node_modules'));
      symlinkSync(root, join(directory, 'node_modules/tendril'));
      symlinkSync(join(root, 'node_modules/rxjs'), join(directory, 'node_modules/rxjs'));
      let main = '';
      for (const block of this.#blocks(`example: ${name}`)) {
        const file = /^\/\/ ([\w-]+\.mjs)/.exec(block)?.[1];
        if (file === undefined) continue;
        writeFileSync(join(directory, file), block);
        main = file;
      }
      const { stdout } = await promisify(execFile)(process.execPath, [main], { cwd: directory });
      return stdout;
    } finally {
      rmSync(directory, { recursive: true });
    }
  }

  /** The fenced blocks between a comment and the next one. */
  #blocks(comment: string): string[] {
    const at = this.text.indexOf(`<!-- ${comment} -->`);
    if (at < 0) return [];
    const end = this.text.indexOf('<!--', at + 4);
    return [...this.text.slice(at, end < 0 ? undefined : end).matchAll(/```\w+\n([^]*?)```/g)].map(([, text]) => text ?? '');
  }
}
