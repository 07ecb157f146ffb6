import type { Rate } from '../token-bucket.ts';

/** What one direct child may ask of its parent, for itself and all that is behind it. Quotas of modules: src/master/modules. */
export interface Quotas {
  /** Context IDs that it may hold in blocks. */
  readonly ids: number;
  /** Requests for IDs. */
  readonly idRequests: Rate;
  /** Log records. Lines of output are among them, so honest programs need many at a time. */
  readonly logs: Rate;
}

export const DEFAULT_QUOTAS: Quotas = {
  ids: 8192,
  idRequests: { burst: 64, perSecond: 8 },
  logs: { burst: 1_000_000, perSecond: 20_000 },
};
