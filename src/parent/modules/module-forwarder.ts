import { DecodeError } from '../../core/errors.ts';
import type { ForwardRequest, ModuleAnswer, ModuleBatch, ModuleRecord, ModuleRequest, Profile, ResourceAnswer, ResourceRequest, Target } from '../../core/importer/records.ts';
import { hasParentAuthority, isImmediateChild } from '../../core/mailbox/policy.ts';
import type { Router } from '../../core/routing/router.ts';
import { IS_DEAD } from '../../core/wire/frame.ts';
import type { Message } from '../../core/wire/frame.ts';
import { FORWARD_MODULE, GET_MODULE, GET_RESOURCE, LOAD_MODULE, LOAD_RESOURCE } from '../../core/wire/handles.ts';
import { decodeValue } from '../../core/wire/values.ts';
import { unpackRecords } from '../../importer/batch.ts';
import { PARENT_ID } from '../../importer/ids.ts';
import { closure } from './closure.ts';
import { Packer } from './packs.ts';
import { IMPORTER, sendImporter, sendModules, sendValue } from './send.ts';
import { SentModules } from './sent.ts';

/** Requests that may wait for the parent. */
const MAX_WAITING = 10_000;
/** Bytes of files beside modules that are kept for the next child. */
const MAX_KEPT_RESOURCES: number = 32 * 1024 * 1024;

/** The answer to whoever asks for a module in a tree whose root is not a master. */
const NO_MASTER: Target = '!ERR_TENDRIL_DETACHED';

/** Who waits for an answer of the parent. */
type Waiting = { readonly kind: 'module'; readonly childId: number; readonly request: ModuleRequest } | { readonly kind: 'resource'; readonly childId: number; readonly request: ResourceRequest };

/**
 * Serves modules to the children of a context that is not the master (Mitogen's ModuleForwarder): from what it has had
 * itself, else by asking its parent, once for all who ask. Each module crosses each link once.
 *
 * A child may have what the modules that it was sent lead to. Everything else is for the parent to decide.
 */
export class ModuleForwarder {
  readonly #router: Router;
  readonly #profile: Profile;
  readonly #packer = new Packer();
  readonly #records = new Map<string, ModuleRecord>();
  readonly #importers = new Map<Profile, Uint8Array>();
  readonly #importerWanted = new Map<Profile, (() => void)[]>();
  readonly #answers = new Map<string, Target>();
  readonly #resources = new Map<string, ResourceAnswer>();
  #resourceBytes = 0;
  readonly #sent = new Map<number, SentModules>();
  readonly #waiting = new Map<string, Waiting[]>();
  /** Nobody is above. */
  #root = false;

  /** @param profile - how modules are run in this very context */
  constructor(router: Router, profile: Profile) {
    this.#router = router;
    this.#profile = profile;
    router.addHandler(GET_MODULE, { policy: isImmediateChild, deliver: (message) => { this.#onGetModule(message); } });
    router.addHandler(GET_RESOURCE, { policy: isImmediateChild, deliver: (message) => { this.#onGetResource(message); } });
    router.addHandler(LOAD_MODULE, { policy: hasParentAuthority, deliver: (message) => { this.#onLoadModule(message); } });
    router.addHandler(LOAD_RESOURCE, { policy: hasParentAuthority, deliver: (message) => { this.#onLoadResource(message); } });
    router.addHandler(FORWARD_MODULE, { policy: hasParentAuthority, deliver: (message) => { this.#onForwardModule(message); } });
    router.events.subscribe((event) => {
      if (event.type === 'stream-closed') this.#sent.delete(event.id);
    });
  }

  /**
   * Calls back once the importer of a profile is here: a child of another version of Node than ours needs one that nobody
   * has needed here. A child without any cannot even ask for modules.
   */
  whenImporter(profile: Profile, ready: () => void): void {
    const wanted = this.#importerWanted.get(profile);
    if (this.#importers.has(profile) || this.#root) ready();
    else if (wanted) wanted.push(ready);
    else {
      this.#importerWanted.set(profile, [ready]);
      // It comes ahead of any module; unless the other thread has it, which sends it here.
      sendValue(this.#router, this.#router.parentIds[0] ?? 0, GET_MODULE, [profile, 'id', '', PARENT_ID] satisfies ModuleRequest);
    }
  }

  /** There is nobody to ask any more: what is not here cannot be had, and those who wait are told. */
  becomeRoot(): void {
    this.#root = true;
    for (const ready of [...this.#importerWanted.values()].flat()) ready();
    this.#importerWanted.clear();
    const waiting = [...this.#waiting.values()].flat();
    this.#waiting.clear();
    for (const one of waiting) this.#deny(one);
  }

  #deny(waiting: Waiting): void {
    if (waiting.kind === 'module') {
      const [profile, kind, from, specifier] = waiting.request;
      this.#push(waiting.childId, profile, [], [[kind, from, specifier, NO_MASTER]]);
    } else if (this.#router.table.get(waiting.childId) !== undefined) sendValue(this.#router, waiting.childId, LOAD_RESOURCE, [...waiting.request, 'ENOENT', null]);
  }

  #onLoadModule(message: Message): void {
    if (message.replyTo === IS_DEAD) return;
    const [profile, answers, packed] = decodeValue(message.data, message.tail) as ModuleBatch;
    // What is kept must not lie in the message: its memory goes to the other thread.
    if (answers === null) {
      this.#importers.set(profile, Buffer.from(packed));
      for (const ready of this.#importerWanted.get(profile) ?? []) ready();
      this.#importerWanted.delete(profile);
    }
    else {
      for (const record of unpackRecords(packed)) this.#records.set(`${profile} ${record[0]}`, record);
      for (const answer of answers) this.#settle(profile, answer);
    }
    // This context's own modules are among them, unless they came from its own other thread.
    if (profile === this.#profile && message.srcId !== this.#router.id) this.#router.table.twin?.send(message);
  }

  #settle(profile: Profile, [kind, from, specifier, target]: ModuleAnswer): void {
    const request: ModuleRequest = [profile, kind, from, specifier];
    const name = nameOf(request);
    // A refusal for asking too much is no answer to the question.
    if (target !== '!ERR_TENDRIL_MODULE_QUOTA') this.#answers.set(name, target);
    const waiting = this.#waiting.get(name) ?? [];
    this.#waiting.delete(name);
    for (const one of waiting) if (one.kind === 'module') this.#push(one.childId, profile, target === null ? [] : [target], [[kind, from, specifier, target]]);
  }

  #onGetModule(message: Message): void {
    if (message.replyTo === IS_DEAD) return;
    const request = checkRequest(decodeValue(message.data, message.tail));
    const [profile, kind, from, specifier] = request;
    const target = this.#known(message.srcId, request);
    if (target === undefined) this.#ask(nameOf(request), { kind: 'module', childId: message.srcId, request }, GET_MODULE, request);
    else this.#push(message.srcId, profile, target === null ? [] : [target], [[kind, from, specifier, target]]);
  }

  /** What a request comes to, if that follows from what the child has been sent; undefined when the parent must decide. */
  #known(childId: number, request: ModuleRequest): Target | undefined {
    const [profile, kind, from, specifier] = request;
    const sent = this.#sent.get(childId);
    if (kind === 'id') return sent?.has(profile, specifier) === true && this.#records.has(`${profile} ${specifier}`) ? specifier : undefined;
    if (sent?.has(profile, from) !== true) return undefined;
    const map = this.#records.get(`${profile} ${from}`)?.[kind === 'require' ? 3 : 4];
    const target = map !== undefined && Object.hasOwn(map, specifier) ? map[specifier] : this.#answers.get(nameOf(request));
    // A module that is named here but has never come this far is the parent's.
    return target == null || !target.startsWith('file:') || this.#records.has(`${profile} ${target}`) ? target : undefined;
  }

  #ask(name: string, waiting: Waiting, handle: number, request: ModuleRequest | ResourceRequest): void {
    if (this.#root) {
      this.#deny(waiting);
      return;
    }
    const others = this.#waiting.get(name);
    if (others) {
      others.push(waiting);
      return;
    }
    if (this.#waiting.size >= MAX_WAITING) throw new DecodeError('too many requests for modules wait for the parent');
    this.#waiting.set(name, [waiting]);
    sendValue(this.#router, this.#router.parentIds[0] ?? 0, handle, request);
  }

  #push(childId: number, profile: Profile, ids: readonly string[], answers: readonly ModuleAnswer[]): void {
    if (this.#router.table.get(childId) === undefined) return;
    let sent = this.#sent.get(childId);
    if (sent === undefined) this.#sent.set(childId, (sent = new SentModules()));
    const had = sent;
    const needs = ([, , , requires, imports]: ModuleRecord): string[] => [...Object.values(requires), ...Object.values(imports)].filter((target) => target !== null);
    const importer = this.#importers.get(profile);
    if (importer && !had.has(profile, IMPORTER)) {
      sent.add(profile, [IMPORTER]);
      sendImporter(this.#router, childId, profile, importer);
    }
    const records = closure(ids, (id) => this.#records.get(`${profile} ${id}`), needs, (id) => had.has(profile, id));
    sent.add(profile, records.map(([id]) => id));
    sendModules(this.#router, this.#packer, childId, profile, records, answers);
  }

  #onForwardModule(message: Message): void {
    if (message.replyTo === IS_DEAD) return;
    const [contextId, profile, ids] = decodeValue(message.data, message.tail) as ForwardRequest;
    const next = this.#router.table.get(contextId);
    // A context that is gone needs nothing.
    if (next === undefined) return;
    this.#push(next.remoteId, profile, ids, []);
    if (next.remoteId !== contextId) sendValue(this.#router, next.remoteId, FORWARD_MODULE, [contextId, profile, ids] satisfies ForwardRequest);
  }

  #onGetResource(message: Message): void {
    if (message.replyTo === IS_DEAD) return;
    const request = checkResource(decodeValue(message.data, message.tail));
    const name = request.join(' ');
    const known = this.#resources.get(name);
    if (known) sendValue(this.#router, message.srcId, LOAD_RESOURCE, known);
    else this.#ask(name, { kind: 'resource', childId: message.srcId, request }, GET_RESOURCE, request);
  }

  #onLoadResource(message: Message): void {
    if (message.replyTo === IS_DEAD) return;
    const [operation, path, error, given] = decodeValue(message.data, message.tail) as ResourceAnswer;
    const value = given instanceof Uint8Array ? Buffer.from(given) : given;
    const answer: ResourceAnswer = [operation, path, error, value];
    const name = `${operation} ${path}`;
    const bytes = value instanceof Uint8Array ? value.length : 256;
    if (error === null && this.#resourceBytes + bytes <= MAX_KEPT_RESOURCES) {
      this.#resourceBytes += bytes;
      this.#resources.set(name, answer);
    }
    const waiting = this.#waiting.get(name) ?? [];
    this.#waiting.delete(name);
    for (const { childId } of waiting) if (this.#router.table.get(childId) !== undefined) sendValue(this.#router, childId, LOAD_RESOURCE, answer);
    this.#router.table.twin?.send(message);
  }
}

function nameOf(request: ModuleRequest): string {
  return request.join(' ');
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value.length <= 4096;
}

function checkRequest(value: unknown): ModuleRequest {
  const [profile, kind, from, specifier] = Array.isArray(value) ? (value as unknown[]) : [];
  const valid = (profile === 'native' || profile === 'rendered') && (kind === 'require' || kind === 'import' || kind === 'id') && isText(from) && isText(specifier);
  if (!valid) throw new DecodeError('a request for a module has a field of the wrong kind');
  return [profile, kind, from, specifier];
}

function checkResource(value: unknown): ResourceRequest {
  const [operation, path] = Array.isArray(value) ? (value as unknown[]) : [];
  const valid = (operation === 'read' || operation === 'stat' || operation === 'list') && isText(path);
  if (!valid) throw new DecodeError('a request for a file has a field of the wrong kind');
  return [operation, path];
}
