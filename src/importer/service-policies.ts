import type { ServicePolicy } from '../core/call/types.ts';

/** Admits this context and those above it (Mitogen's AllowParents). */
export const allowParents: ServicePolicy = ({ relation }) => relation === 'parent' || relation === 'self';

/** Admits the contexts below this one; in a master, all others. */
export const allowChildren: ServicePolicy = ({ relation }) => relation === 'child';

/** Admits contexts that are neither above this one nor below it. */
export const allowSiblings: ServicePolicy = ({ relation }) => relation === 'sibling';

/** Admits every context that can route a message here (Mitogen's AllowAny). */
export const allowAny: ServicePolicy = () => true;
