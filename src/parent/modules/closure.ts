/**
 * Everything that is reached from `entries`, dependencies first, each once, and without what `skip` says (a module that
 * is skipped is not looked behind: who has it has what it needs).
 */
export function closure<T>(entries: readonly string[], get: (id: string) => T | undefined, needs: (module: T) => readonly string[], skip: (id: string) => boolean): T[] {
  const order: T[] = [];
  const seen = new Set<string>();
  // Not recursive: chains of imports can be longer than a stack is deep.
  const work: ({ readonly enter: string } | { readonly leave: T })[] = entries.map((id) => ({ enter: id })).reverse();
  for (let step = work.pop(); step !== undefined; step = work.pop()) {
    if ('leave' in step) {
      order.push(step.leave);
      continue;
    }
    const id = step.enter;
    if (seen.has(id) || skip(id)) continue;
    seen.add(id);
    const module = get(id);
    if (module === undefined) continue;
    work.push({ leave: module });
    for (const other of [...needs(module)].reverse()) work.push({ enter: other });
  }
  return order;
}
