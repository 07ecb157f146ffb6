import { TendrilError, isError, messageOf } from '../errors.ts';
import { MAX_CAUSES, MAX_ERROR_MESSAGE, MAX_ERROR_STACK } from './limits.ts';
import { TAG_CALL_ERROR, WIRE } from './tags.ts';
import type { Wired } from './tags.ts';

/** What of an error crosses the wire: `[name, message, stack, code, cause]`. */
export type ErrorContent = readonly [name: string, message: string, stack: string, code: string | null, cause: ErrorContent | null];

/**
 * An error that a function threw in another context.
 *
 * `message`, `code` and `cause` are those of the original; `remoteName` is its class and `remoteStack` its stack there.
 * Texts longer than the limits (docs/limits.md) are cut, never refused.
 */
export class CallError extends TendrilError implements Wired {
  static override readonly brand: string = 'CallError';
  /** Name of the original error's class, such as `TypeError`. */
  readonly remoteName: string;
  /** Stack of the original error, with the paths of the context where it was thrown. */
  readonly remoteStack: string;

  constructor(content: ErrorContent) {
    const [name, message, stack, code, cause] = content;
    super(code ?? 'ERR_TENDRIL_CALL', message, cause ? { cause: new CallError(cause) } : undefined);
    this.remoteName = name;
    this.remoteStack = stack;
    Object.defineProperty(this, 'stack', {
      value: `CallError: ${stack === '' ? `${name}: ${message}` : stack}`,
      configurable: true,
      writable: true,
    });
  }

  [WIRE](): { tag: number; content: unknown } {
    const cause = isError(this.cause) ? errorContent(this.cause, MAX_CAUSES - 1) : null;
    return { tag: TAG_CALL_ERROR, content: [this.remoteName, this.message, this.remoteStack, this.code, cause] satisfies ErrorContent };
  }
}

function cut(text: string, limit: number): string {
  return text.length <= limit ? text : `${text.slice(0, limit)} ... [${String(text.length - limit)} characters cut]`;
}

function textOf(read: () => unknown, otherwise: string): string {
  try {
    const text = read();
    return typeof text === 'string' ? text : otherwise;
  } catch {
    return otherwise;
  }
}

/** Modules at the paths that they have at the master, where they can be read; without the frames of ours in between. */
function shownStack(stack: string): string {
  return stack.replace(/\n +at .*tendril-(core|importer):.*/g, '').replaceAll('/dev/null/tendril/', '/');
}

/** Reduces anything that was thrown to what crosses the wire. Never throws: getters that throw give empty texts. */
export function errorContent(thrown: unknown, causes: number = MAX_CAUSES): ErrorContent {
  if (!isError(thrown)) return ['Error', cut(messageOf(thrown), MAX_ERROR_MESSAGE), '', null, null];
  if (thrown instanceof CallError) {
    const next = causes > 1 && isError(thrown.cause) ? errorContent(thrown.cause, causes - 1) : null;
    return [thrown.remoteName, cut(thrown.message, MAX_ERROR_MESSAGE), cut(thrown.remoteStack, MAX_ERROR_STACK), thrown.code, next];
  }
  const error = thrown as Error & { code?: unknown };
  let cause: ErrorContent | null = null;
  try {
    if (causes > 1 && error.cause !== undefined) cause = errorContent(error.cause, causes - 1);
  } catch {
    // A cause that cannot be read is left out.
  }
  const code = textOf(() => error.code, '');
  return [
    cut(textOf(() => error.name, 'Error'), 256),
    cut(textOf(() => error.message, ''), MAX_ERROR_MESSAGE),
    cut(textOf(() => shownStack(error.stack ?? ''), ''), MAX_ERROR_STACK),
    code === '' ? null : cut(code, 256),
    cause,
  ];
}
