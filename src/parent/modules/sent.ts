import type { Profile } from '../../core/importer/records.ts';

/** What went over one link, for each profile: nothing goes twice. */
export class SentModules {
  readonly #ids = new Map<Profile, Set<string>>();

  has(profile: Profile, id: string): boolean {
    return this.#ids.get(profile)?.has(id) === true;
  }

  /** Notes what is sent now. */
  add(profile: Profile, added: Iterable<string>): void {
    let ids = this.#ids.get(profile);
    if (ids === undefined) this.#ids.set(profile, (ids = new Set()));
    for (const id of added) ids.add(id);
  }
}
