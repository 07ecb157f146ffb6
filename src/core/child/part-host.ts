import type { Observable } from 'rxjs';
import type { ChildConfig } from '../config.ts';
import type { Router } from '../routing/router.ts';
import type { Stream } from '../routing/stream.ts';
import type { encodeFrame } from '../wire/frame.ts';
import type { deadError, decodeValue, encodeValue } from '../wire/values.ts';

/**
 * What the core gives to the parts of the library that a context gets once it has children (LOAD_PART): what is in the
 * core is not sent a second time.
 */
export interface PartHost {
  /** The router of the broker thread. */
  readonly router: Router;
  readonly config: ChildConfig;
  /** The compressed core, for children of this context. */
  readonly core: Uint8Array;
  /** Has the main thread send here what it was sent of modules: LOAD_MODULE messages from this very context. */
  readonly recall: () => void;
  /** Completes when nothing is left of the children; set by the part that starts them. */
  reaped?: Observable<never>;
  readonly Stream: typeof Stream;
  readonly encodeFrame: typeof encodeFrame;
  readonly encodeValue: typeof encodeValue;
  readonly decodeValue: typeof decodeValue;
  readonly deadError: typeof deadError;
}

/** A part: the body of a function of these. `packed` is the part as it came, for children that need it too. */
export type Part = (require: (id: string) => unknown, host: PartHost, packed: Uint8Array) => void;
