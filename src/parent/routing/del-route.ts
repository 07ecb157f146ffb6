import type { Router } from '../../core/routing/router.ts';
import { DEL_ROUTE } from '../../core/wire/handles.ts';
import type { Message } from '../../core/wire/frame.ts';

/** The ID in a DEL_ROUTE; undefined when it is not valid. */
export function goneId({ data }: Message): number | undefined {
  return data.length === 2 ? Buffer.from(data).readUInt16BE(0) : undefined;
}

/** Tells the parent that a context behind this one is gone, or never came to be. */
export function sendDelRoute(router: Router, id: number): void {
  const { parent } = router.table;
  if (parent === undefined) return;
  const data = Buffer.alloc(2);
  data.writeUInt16BE(id);
  router.send({ dstId: parent.remoteId, srcId: router.id, handle: DEL_ROUTE, replyTo: 0, data });
}
