import { UsageError } from '../../core/errors.ts';
import type { FirstStage } from '../connection/transport.ts';

/**
 * The first stage: what `node -e` runs on the target. It sets the process title, announces `EC0 <node version>;` on fd
 * 4, reads two blocks from fd 3, each a length (u32, big-endian) and exactly that many bytes: the core, which it inflates
 * and evaluates, and V8's code cache for it, which may be empty.
 *
 * It holds none of `' " \` $ \ !` and no newline, so that it survives every quoting of every shell, and `sudo -i`;
 * texts are the sources of regular expressions. The marker is computed, so that an echo of the command is not taken for it.
 */
export const FIRST_STAGE: string =
  '(function(p,w){function r(k){for(var b=Buffer.alloc(k),i=0,c;i<k;i+=c){c=0;try{(c=fs.readSync(3,b,i,k-i))||p.exit(1)}' +
  'catch(e){if(e.code==/EAGAIN/.source)Atomics.wait(w,0,0,9);else throw e}}return b}' +
  'p.title=p.argv[1];fs.writeSync(4,/EC/.source+0+/ /.source+p.version+/;/.source);' +
  'var c=r(r(4).readUInt32BE(0)),k=r(r(4).readUInt32BE(0));' +
  'new vm.Script(zlib.inflateRawSync(c)+[],{filename:/tendril-core/.source,cachedData:k[0]+1?k:void 0}).runInThisContext()(require,c)' +
  '})(process,new Int32Array(new SharedArrayBuffer(4)))';

/** The protocol moves to fds 3 and 4, stdin is /dev/null, stdout goes where stderr goes; no shell stays behind. */
export const PRELUDE = 'exec 3<&0 4>&1 </dev/null >&2;';

const UNQUOTED = /^[\w@%+=:,./-]+$/;
const UNSAFE = /["'`$\\!\n\r\0]/;

/** A word for the script; throws for one that no quoting survives. */
export function quote(word: string, what: string): string {
  if (UNQUOTED.test(word)) return word;
  if (UNSAFE.test(word)) throw new UsageError('ERR_TENDRIL_BAD_WORD', `${what} ${JSON.stringify(word)} holds a character that no shell quoting survives; leave out quotes, backticks, $, \\, ! and line ends`);
  return `"${word}"`;
}

/**
 * The first stage for a target.
 *
 * @param title - process title there, such as `tendril:web1`
 * @param nodePath - Node on the target: a path or name, or a command with its leading arguments
 */
export function firstStage(title: string, nodePath: string | readonly string[] = 'node'): FirstStage {
  const given: unknown = nodePath;
  if (typeof given !== 'string' && !Array.isArray(given)) throw new UsageError('ERR_TENDRIL_BAD_OPTION', `the option nodePath must be a text or a list of texts, got ${typeof given}`);
  const node = typeof nodePath === 'string' ? [nodePath] : nodePath;
  if (node.length === 0 || node[0] === '') throw new UsageError('ERR_TENDRIL_BAD_WORD', 'nodePath is empty; give the path of node, or leave it out');
  const words = [...node.map((word) => quote(word, 'nodePath')), '-e', quote(FIRST_STAGE, 'first stage'), quote(title, 'title')];
  return stageOf(`${PRELUDE}exec ${words.join(' ')}`);
}

/** A script for sh, without single quotes, in both forms. */
export function stageOf(script: string): FirstStage {
  return { shellLine: `exec sh -c '${script}'`, argv: ['sh', '-c', script] };
}

/** A title or name made safe for {@link firstStage}: other characters become `_`. */
export function safeTitle(text: string): string {
  const safe = text.replace(/[^\w@%+=:,./() -]/g, '_');
  return safe.startsWith('-') ? `_${safe.slice(1)}` : safe;
}
