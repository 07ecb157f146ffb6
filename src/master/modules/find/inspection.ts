import { Session } from 'node:inspector';
import type { RemoteFunction } from '../../../core/call/types.ts';

/**
 * Where the inspector can see an object of ours: it evaluates in the main realm, and jest's tests run in others, which
 * have the builtin classes in common with it. Node 22.0 to 22.2 does not give those, but may be asked for a global.
 */
const HANDOVER: unique symbol = Symbol.for('tendril.handover') as never;
const SESSION = '(globalThis[Symbol.for("tendril.handover")] ?? process.getBuiltinModule("node:inspector").Session)';

/** The text that a function was compiled from. */
export interface Script {
  readonly url: string;
  readonly isModule: boolean;
  /** Of an ES module, as the engine has it. Others are not asked for theirs, which may be large. */
  readonly source: string;
  /** Where in the source the function begins: at its parameters. */
  readonly offset: number;
}

/** Variables that a function sees, but for the global ones. */
export interface Scope {
  /** `Module`, `Closure (name of the outer function)`, `Block`, and so on. */
  readonly kind: string;
  /** Those that have a value already. */
  readonly variables: Readonly<Record<string, unknown>>;
}

/** What the engine knows of a function. */
export interface Inspected {
  /** Absent for what was not written in JavaScript, and for bound functions and proxies. */
  readonly script?: Script;
  /** What it was bound from, or what it is a Proxy of. */
  readonly target?: RemoteFunction;
  readonly bound: boolean;
  /** From the innermost to the outermost. */
  readonly scopes: readonly Scope[];
}

export type Inspect = (fn: RemoteFunction) => Inspected;

interface RemoteObject {
  readonly objectId?: string;
  readonly value?: { readonly scriptId: string; readonly lineNumber: number; readonly columnNumber: number };
}

interface Parsed {
  readonly scriptId: string;
  readonly url: string;
  readonly isModule?: boolean | undefined;
}

/**
 * Gives `work` the means to ask the engine about functions; undefined where the inspector is not permitted.
 *
 * While it is attached the engine compiles slowly, and to attach it costs time with every script that is loaded, so it
 * is the last resort, for as short as possible.
 */
export function withInspector<R>(work: (inspect: Inspect) => R): R | undefined {
  const session = new Session();
  try {
    session.connect();
  } catch {
    return undefined;
  }
  try {
    const scripts = new Map<string, Parsed>();
    session.on('Debugger.scriptParsed', ({ params }) => {
      scripts.set(params.scriptId, params);
    });
    session.post('Debugger.enable');
    Reflect.set(globalThis, HANDOVER, Session);
    return work((fn) => inspect(session, scripts, fn));
  } finally {
    Reflect.deleteProperty(globalThis, HANDOVER);
    Reflect.deleteProperty(Session, HANDOVER);
    session.post('Debugger.disable');
    session.disconnect();
  }
}

function inspect(session: Session, scripts: ReadonlyMap<string, Parsed>, fn: RemoteFunction): Inspected {
  const slot = Session as unknown as Record<symbol, unknown>;
  slot[HANDOVER] = fn;
  const handed = evaluate(session, `${SESSION}[Symbol.for("tendril.handover")]`);
  const owner = evaluate(session, SESSION);
  const inner = new Map<string, RemoteObject>();
  session.post('Runtime.getProperties', { objectId: handed, ownProperties: true }, (_error, reply) => {
    for (const { name, value } of (reply as { internalProperties?: { name: string; value: RemoteObject }[] } | null)?.internalProperties ?? []) inner.set(name, value);
  });
  /** An object of the inspector as the object that it is. */
  const take = (name: string): unknown => {
    const objectId = inner.get(name)?.objectId;
    slot[HANDOVER] = undefined;
    if (objectId !== undefined) session.post('Runtime.callFunctionOn', { objectId, functionDeclaration: 'function (session) { session[Symbol.for("tendril.handover")] = this; }', arguments: [{ objectId: owner }] });
    return slot[HANDOVER];
  };
  const target = take('[[TargetFunction]]') ?? take('[[Target]]');
  const location = inner.get('[[FunctionLocation]]')?.value;
  const script = location && scripts.get(location.scriptId);
  return {
    bound: inner.has('[[TargetFunction]]'),
    scopes: scopesOf(take('[[Scopes]]')),
    ...(typeof target === 'function' && { target: target as RemoteFunction }),
    ...(location && script && { script: scriptOf(session, script, location) }),
  };
}

function evaluate(session: Session, expression: string): string {
  let objectId = '';
  session.post('Runtime.evaluate', { expression }, (_error, reply) => {
    objectId = (reply as { result: RemoteObject } | null)?.result.objectId ?? '';
  });
  return objectId;
}

function scopesOf(list: unknown): Scope[] {
  const scopes = Array.from((list ?? []) as ArrayLike<{ description: string; object: Scope['variables'] }>);
  return scopes.flatMap(({ description, object }) => (/^(?:Global|Script)/.test(description) ? [] : [{ kind: description, variables: readable(object) }]));
}

function readable(variables: Scope['variables']): Scope['variables'] {
  const values = Object.create(null) as Record<string, unknown>;
  for (const name of Object.keys(variables)) {
    try {
      values[name] = variables[name];
    } catch {
      // It has no value yet: from Node 22 on, reading it throws.
    }
  }
  return values;
}

function scriptOf(session: Session, { scriptId, url, isModule = false }: Parsed, { lineNumber, columnNumber }: NonNullable<RemoteObject['value']>): Script {
  let source = '';
  if (!isModule) return { url, isModule, source, offset: 0 };
  session.post('Debugger.getScriptSource', { scriptId }, (_error, reply) => {
    source = (reply as { scriptSource?: string } | null)?.scriptSource ?? '';
  });
  let offset = 0;
  for (let line = 0; line < lineNumber; line++) offset = source.indexOf('\n', offset) + 1;
  return { url, isModule, source, offset: offset + columnNumber };
}
