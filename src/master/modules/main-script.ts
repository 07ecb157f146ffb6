import { readFileSync, realpathSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { UsageError } from '../../core/errors.ts';
import { codeOnly } from './code-only.ts';

/** `node main` runs main.js; the others are for programs that run TypeScript. */
const EXTENSIONS = ['', '.js', '.json', '.node', '.mjs', '.cjs', '.ts', '.mts', '.cts', '.tsx', '.jsx'];
const EVALUATES = /^(?:-e|-p|-pe|-i|--eval|--print|--interactive)(?:=|$)/;

/** Guards that need no comparison. */
const PLAIN_GUARDS = /\bimport\.meta\.main\b|\bmodule\s*(?:\?\.|\.)\s*parent\b|\b\w*main\w*\s*\(\s*import\.meta(?:\.\w+)?\s*\)/i;
/** What names the script that was started, and what names this file. */
const STARTED = /\b(?:process\s*\.\s*)?argv\s*(?:(?:\?\.)?\s*\[\s*1\s*\]|\.at\(\s*1\s*\))|\brequire\s*\.\s*main\b|\bprocess\s*\.\s*mainModule\b/;
const THIS_FILE = /\bimport\s*\.\s*meta\s*\.\s*(?:url|filename|dirname)\b|\b__filename\b|(?<![.\w$])module\b/;
const COMPARISON = /[!=]==?|\.(?:includes|startsWith|endsWith|equals)\s*\(|\bObject\.is\s*\(/;
const DECLARATION = /\b(?:const|let|var)\s+([\w$]+|\[[^\]]*\])[^=;]*=(?!=)([^;]*?)(?=;|$|\n\s*(?:await|class|const|export|function|if|import|let|var)\b)/g;

/**
 * Whether a module, given by its URL, is the script that this process was started with. There is none where Node
 * evaluates a text, and a test runner is its own.
 */
export function isMainScript(url: string): boolean {
  const { argv, execArgv } = process;
  if (argv[1] === undefined || execArgv.some((option) => EVALUATES.test(option))) return false;
  const file = startedFile(resolve(argv[1]));
  return file !== undefined && pathToFileURL(file).href === url;
}

/**
 * Throws (UsageError, ERR_TENDRIL_MAIN_SCRIPT) when a module is the main script of this process and has no guard: its
 * main part, which makes a master and children, would run in the children too.
 */
export function checkMainScript(url: string, source: string): void {
  if (!isMainScript(url)) return;
  const code = codeOnly(source);
  if (isGuarded(code)) return;
  throw new UsageError('ERR_TENDRIL_MAIN_SCRIPT', `${url} is the main script of this process. What it does at its top level would be done in the child too, so put that behind a guard:\n${guardFor(url, code)}\nor move the functions that run in children to a module of their own`);
}

/** The file that `node path` runs, as it really is. */
function startedFile(path: string): string | undefined {
  for (const base of [path, join(path, mainOf(path)), join(path, 'index')]) {
    for (const extension of EXTENSIONS) {
      if (statSync(base + extension, { throwIfNoEntry: false })?.isFile()) return realpathSync(base + extension);
    }
  }
  return undefined;
}

function mainOf(directory: string): string {
  try {
    const { main } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')) as { main?: unknown };
    return typeof main === 'string' ? main : '';
  } catch {
    return '';
  }
}

/** Whether some expression tells the main script from others; `code` has neither comments nor strings. */
function isGuarded(code: string): boolean {
  if (PLAIN_GUARDS.test(code)) return true;
  const started = naming(STARTED, code);
  const thisFile = naming(THIS_FILE, code);
  return code.split(/[;{}]/).some((part) => COMPARISON.test(part) && started.test(part) && thisFile.test(part));
}

/** A pattern for `what`, and for the variables that are made from it. */
function naming(what: RegExp, code: string): RegExp {
  const names: string[] = [];
  let pattern = what;
  for (const [, target = '', value = ''] of code.matchAll(DECLARATION)) {
    const name = target.startsWith('[') ? /^\[[^,\]]*,\s*([\w$]+)/.exec(target)?.[1] : target;
    const fromArgv = target.startsWith('[') && what === STARTED && /\bargv\b/.test(value);
    if (name === undefined || !(fromArgv || (!target.startsWith('[') && pattern.test(value)))) continue;
    names.push(name.replaceAll('$', '\\$'));
    pattern = new RegExp(`${what.source}|(?<![.\\w$])(?:${names.join('|')})\\b`);
  }
  return pattern;
}

/** The guard to write, which works on every version of Node and with what runs TypeScript. */
function guardFor(url: string, code: string): string {
  const isEsm = /\.m[jt]s$/.test(url) || (!/\.c[jt]s$/.test(url) && /^\s*(?:import\b(?!\s*\()|export\b)|\bimport\.meta\b/m.test(code));
  if (!isEsm) return 'if (require.main === module) {\n  // what only the main process does\n}';
  return "import { fileURLToPath } from 'node:url';\nif (process.argv[1] === fileURLToPath(import.meta.url)) {   // or import.meta.main, from Node 24.2 on\n  // what only the main process does\n}";
}
