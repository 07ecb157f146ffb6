import { GuardedObservable } from '../../core/mailbox/guarded-observable.ts';
import type { Observable } from 'rxjs';
import type { CallTarget } from '../../core/call/invoke.ts';
import type { Router } from '../../core/routing/router.ts';
import { IS_DEAD } from '../../core/wire/frame.ts';
import { PING } from '../../core/wire/handles.ts';
import { deadError } from '../../core/wire/values.ts';

/** Milliseconds of one round trip to a context, as a cold observable: a message to a handle that nobody answers. */
export function ping(router: Router, target: CallTarget): Observable<number> {
  return new GuardedObservable<number>(router.broker.report, `subscriber of a ping of ${target.name}`, (subscriber) => {
    const { broker } = router;
    let handle = 0;
    const send = (): void => {
      const { contextId } = target;
      const begun = broker.now();
      handle = router.allocateHandle();
      router.addHandler(handle, {
        respondent: contextId,
        deliver: ({ srcId, replyTo, data }) => {
          const error = replyTo === IS_DEAD ? deadError(data) : undefined;
          if (error && (srcId !== contextId || error.reason !== 'invalid-handle')) {
            subscriber.error(error);
            return;
          }
          subscriber.next(broker.now() - begun);
          subscriber.complete();
        },
      });
      router.send({ dstId: contextId, srcId: router.id, handle: PING, replyTo: handle, data: Buffer.alloc(0) });
    };
    const withdraw = target.whenReady(send, (error) => {
      subscriber.error(error);
    });
    return () => {
      withdraw?.();
      if (handle !== 0) router.removeHandler(handle);
    };
  });
}
