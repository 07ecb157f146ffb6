import * as policies from './service-policies.ts';

type ErrorClass = new (...args: never[]) => Error;

/**
 * Adds to what `tendril` is in a child the names that mean something at the master only: a program in one file imports
 * them, and compares errors with them, in its children too.
 */
export function completeLibrary(library: Record<string, unknown>, error: (code: string, message: string) => Error): Record<string, unknown> {
  const TendrilError = library['TendrilError'] as ErrorClass;
  class ConnectError extends TendrilError {
    static readonly brand = 'ConnectError';
  }
  class DeadlineError extends TendrilError {
    static readonly brand = 'DeadlineError';
  }
  class AttachError extends TendrilError {
    static readonly brand = 'AttachError';
  }
  class CommandError extends TendrilError {
    static readonly brand = 'CommandError';
  }
  class FileError extends TendrilError {
    static readonly brand = 'FileError';
  }
  /** The real one is loaded with the first stream. */
  const RemoteStream = Object.defineProperty(() => undefined, Symbol.hasInstance, { value: (value?: Record<symbol, unknown> | null) => value?.[Symbol.for('tendril.stream')] === true });
  const attach = (): Promise<never> => Promise.reject(error('ERR_TENDRIL_CHILD_CALL', 'attach() is not available in a child: it takes modules that only a program of its own has'));
  const pushAll = (): never => {
    throw error('ERR_TENDRIL_CHILD_CALL', 'pushAll() is not available in a child: use push() of each context there');
  };
  return Object.assign(library, { AttachError, AttachedTree: library['Master'], CommandError, ConnectError, ConnectedContext: library['Context'], DeadlineError, FileError, FileService: library['Master'], RemoteCommand: library['Master'], RemoteContext: library['Context'], ModuleResponder: library['Master'], RemoteStream, attach, pushAll, ...policies });
}
