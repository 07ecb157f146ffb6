/**
 * Where messages for a context go, and where messages of a context must come from.
 *
 * `P` is whatever a route leads to: a stream, or a plain object in a property test.
 */
export class RouteTable<P> {
  /** This context. */
  readonly id: number;
  /** The stream upwards; undefined in the master. */
  parent: P | undefined;
  /** The stream to the other thread of this same context, where there is one. */
  twin: P | undefined;
  readonly #routes = new Map<number, P>();

  constructor(id: number) {
    this.id = id;
  }

  /** The peer through which `id` is reached, if a route is known. */
  get(id: number): P | undefined {
    return this.#routes.get(id);
  }

  /** Adds a route; false when the ID is routed elsewhere already, or is our own. */
  add(id: number, peer: P): boolean {
    const known = this.#routes.get(id);
    if (id === this.id || (known !== undefined && known !== peer)) return false;
    this.#routes.set(id, peer);
    return true;
  }

  delete(id: number): void {
    this.#routes.delete(id);
  }

  /** All IDs that are reached through `peer`. */
  via(peer: P): number[] {
    const ids: number[] = [];
    for (const [id, through] of this.#routes) if (through === peer) ids.push(id);
    return ids;
  }
}
