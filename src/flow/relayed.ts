import type { Router } from '../core/routing/router.ts';

/** Routers whose messages go out as those of another context: its consumers would look for the producer there. */
export const relayed = new WeakSet<Router>();
