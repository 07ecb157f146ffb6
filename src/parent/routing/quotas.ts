import type { Quotas } from '../../core/config.ts';

const DEFAULT_QUOTAS: Quotas = {
  ids: 8192,
  idRequests: { burst: 64, perSecond: 8 },
  logs: { burst: 1_000_000, perSecond: 20_000 },
};

/** All quotas, where some are given. */
export function quotasOf({ ids = DEFAULT_QUOTAS.ids, idRequests = DEFAULT_QUOTAS.idRequests, logs = DEFAULT_QUOTAS.logs }: Partial<Quotas> = {}): Quotas {
  return { ids, idRequests, logs };
}
