/** A context on the way of something that goes to many, and those behind it. */
export interface FanNode<C> {
  readonly context: C;
  /** Whether it is to have it, too. */
  readonly wanted: boolean;
  /** Those behind it that get it from here: targets, and contexts behind which the ways part. */
  readonly children: readonly FanNode<C>[];
}

/**
 * The tree of the ways to some contexts. What only lies on one way is left out: there is nothing to share.
 *
 * @param viaOf - the context by way of which another is reached
 */
export function fanOut<C>(targets: Iterable<C>, viaOf: (context: C) => C | undefined): readonly FanNode<C>[] {
  interface Draft {
    readonly context: C;
    wanted: boolean;
    readonly children: Map<C, Draft>;
  }
  const roots = new Map<C, Draft>();
  for (const target of targets) {
    const way: C[] = [];
    for (let at: C | undefined = target; at !== undefined; at = viaOf(at)) way.unshift(at);
    let level = roots;
    for (const context of way) {
      let draft = level.get(context);
      if (draft === undefined) level.set(context, (draft = { context, wanted: false, children: new Map<C, Draft>() }));
      if (context === target) draft.wanted = true;
      level = draft.children;
    }
  }
  const finished = (drafts: Iterable<Draft>): FanNode<C>[] =>
    [...drafts].flatMap(({ context, wanted, children }) => {
      const behind = finished(children.values());
      return wanted || behind.length > 1 ? [{ context, wanted, children: behind }] : behind;
    });
  return finished(roots.values());
}
