import { deflateRawSync } from 'node:zlib';
import type { FunctionRef } from '../../core/call/protocol.ts';
import type { Router } from '../../core/routing/router.ts';
import { LOAD_MODULE } from '../../core/wire/handles.ts';
import { encodeValue } from '../../core/wire/values.ts';
import { ModuleGraph } from './module-graph.ts';

/** Sends modules to children: each once, with everything that it needs, ahead of the call that needs it. */
export class ModuleResponder {
  readonly #router: Router;
  readonly #graph = new ModuleGraph();
  readonly #sent = new Map<number, Set<string>>();

  constructor(router: Router) {
    this.#router = router;
  }

  /** Makes sure that the module of `ref` is, or will be in time, in the context. */
  prepare(contextId: number, ref: FunctionRef): void {
    if (ref.module.startsWith('node:')) return;
    let sent = this.#sent.get(contextId);
    if (sent === undefined) this.#sent.set(contextId, (sent = new Set()));
    if (sent.has(ref.module)) return;
    const records = this.#graph.closure(ref.module, sent);
    for (const [id] of records) sent.add(id);
    const packed = deflateRawSync(encodeAll(records));
    const { data, tail } = encodeValue(packed);
    this.#router.send({ dstId: contextId, srcId: this.#router.id, handle: LOAD_MODULE, replyTo: 0, data, ...(tail && { tail }) });
  }

  /** Forgets a context that is gone. */
  forget(contextId: number): void {
    this.#sent.delete(contextId);
  }
}

function encodeAll(value: unknown): Uint8Array {
  const { data, tail = [] } = encodeValue(value);
  return Buffer.concat([data, ...tail]);
}
