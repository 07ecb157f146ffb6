import type { Observable } from 'rxjs';
import type { Broker } from '../../core/broker/broker.ts';
import type { SecondStart } from '../bootstrap/ladder.ts';
import { COMMAND_METHODS } from './commands/methods.ts';
import { openBy } from './commands/open-command.ts';
import type { CommandMethod } from './commands/plan.ts';
import { openLocal } from './local.ts';
import type { Open, FirstStage, Transport } from './transport.ts';

/** Options of a method, with the title of the process. Each method checks its own. */
export type MethodOptions = Readonly<Record<string, unknown>> & { readonly title: string };

/** A way to start a context, whatever its options. */
export interface Method {
  readonly open: (options: MethodOptions, stage: FirstStage, broker: Broker) => Observable<Transport>;
  /** What a second start, where the first found no Node, may do. */
  readonly again: (options: MethodOptions) => SecondStart;
  /** Whether the core is sent without waiting for the first stage: where nothing else can read it. */
  readonly eager: boolean;
}

/** A method that is opened by a function of its own. */
export function methodOf<Options>(open: Open<Options>, again: SecondStart, eager = false): Method {
  return { open: open as unknown as Method['open'], again: () => again, eager };
}

function byCommand<Options>(method: CommandMethod<Options>): Method {
  return { open: openBy(method) as unknown as Method['open'], again: method.again as unknown as Method['again'], eager: false };
}

/** The methods that need nothing but this part of the library, by name. */
export const METHODS: ReadonlyMap<string, Method> = new Map<string, Method>([
  ['local', methodOf(openLocal, 'none', true)],
  ...Object.entries(COMMAND_METHODS).map(([name, method]): [string, Method] => [name, byCommand(method as CommandMethod<unknown>)]),
]);
