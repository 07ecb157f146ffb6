/** What an export is read from. */
export type Binding = () => unknown;

/** A module namespace object, as `import * as` gives it. Its exports are added by {@link expose}. */
export function namespace(): object {
  return Object.create(null, { [Symbol.toStringTag]: { value: 'Module' } }) as object;
}

/** Makes `bindings` the exports of a namespace: live, sorted, and not to be written. */
export function expose(target: object, bindings: ReadonlyMap<string, Binding>): void {
  for (const name of [...bindings.keys()].sort()) {
    const get = bindings.get(name);
    if (get) Object.defineProperty(target, name, { get, enumerable: true });
  }
  Object.preventExtensions(target);
}

/** The exports of something that is not an ES module: itself as default, and what it has under the given names. */
export function synthetic(exports: unknown, names: readonly string[]): Map<string, Binding> {
  const bindings = new Map<string, Binding>();
  for (const name of names) if (name !== 'default') bindings.set(name, () => read(exports, name));
  bindings.set('default', () => exports);
  return bindings;
}

/** As Node does: own properties only, and a getter that throws is an export that is undefined. */
function read(exports: unknown, name: string): unknown {
  try {
    return exports !== null && exports !== undefined && Object.hasOwn(exports, name) ? (exports as Record<string, unknown>)[name] : undefined;
  } catch {
    return undefined;
  }
}

/** What a namespace gives now, without what is not initialised yet. */
export function valuesOf(exports: object): object {
  return Object.fromEntries(Object.keys(exports).flatMap((name) => {
    try {
      return [[name, (exports as Record<string, unknown>)[name]]];
    } catch {
      return [];
    }
  }));
}
