type ErrorClass = new (...args: never[]) => Error;

/**
 * Adds to what `tendril` is in a child the names that mean something at the master only: a program in one file imports
 * them, and compares errors with them, in its children too.
 */
export function completeLibrary(library: Record<string, unknown>): Record<string, unknown> {
  const TendrilError = library['TendrilError'] as ErrorClass;
  class ConnectError extends TendrilError {
    static readonly brand = 'ConnectError';
  }
  return Object.assign(library, { ConnectError, ConnectedContext: library['Context'], ModuleResponder: library['Master'] });
}
