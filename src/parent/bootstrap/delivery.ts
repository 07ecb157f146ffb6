import { Observable, concat, defer, of } from 'rxjs';
import type { Broker } from '../../core/broker/broker.ts';
import { classifyExit, printable } from '../connection/classify-exit.ts';
import { ConnectError } from '../connection/connect-error.ts';
import type { ConnectReason } from '../connection/connect-error.ts';
import type { FirstStage, Transport } from '../connection/transport.ts';
import { WrappedLink } from '../connection/wrapped-link.ts';
import { FIRST_STAGE, PRELUDE, quote, stageOf } from './first-stage.ts';
import { LastWords, MAX_OUTPUT } from './last-words.ts';
import type { Runtime, ShipOptions } from './runtime.ts';

const DEFAULT_TIMEOUT_MS = 600_000;
/** Bytes of noise that may come before the script answers. */
const MAX_NOISE: number = 64 * 1024;

/** Room that must be left beside the program, in KiB. */
const SPARE_KIB = 1024;

/** Places that are memory on most machines; `stat` says whether they are on this one. */
const MEMORY_PLACES = '"$XDG_RUNTIME_DIR" /dev/shm /run /run/lock /tmp';
const DISK_PLACES = '/tmp /var/tmp ~';

/** What the script needs to have there. */
const TOOLS = 'head gzip sha256sum mktemp df stat';

/** A first stage that takes a Node from its parent, in place of one that is not there. */
export interface DeliveryStageOptions {
  readonly title: string;
  readonly runtime: Runtime;
  readonly disk: boolean;
  /** Looks for an installed Node before: src/parent/bootstrap/search.ts, or nothing. */
  readonly search: string;
}

/**
 * The script says what it found, `RT0 <machine> <loader> <place> <missing tool>;`, reads `<bytes> <sha256>` and that many bytes,
 * checks them, says `RT1;` and becomes the program. The file has no name any more when the first byte is written to it;
 * a shell that is killed at any time leaves nothing but an empty directory, in the instant in which it has one.
 */
export function deliveryStage({ title, runtime, disk, search }: DeliveryStageOptions): FirstStage {
  const { loader, size } = runtime;
  const kib = Math.ceil(size / 1024) + SPARE_KIB;
  const place = (places: string, test: string): string =>
    `for c in ${places};do [ -z "$t" ]&&[ -d "$c" ]&&[ -w "$c" ]${test}||continue;` +
    't=$(mktemp -d "$c/tendril.XXXXXX" 2>/dev/null)||{ t=;continue;};f=$t/n;echo exit 7 >$f&&chmod 700 $f;' +
    // Whether programs may run there is only known when one has.
    `$f 2>/dev/null;r=$?;k=$(df -Pk $t|{ read x;read x x x k x;echo $k;});[ $r = 7 ]&&[ $k -ge ${String(kib)} ]&&p=$c&&break;rm -rf $t;t=;done;`;
  return stageOf(
    `${PRELUDE}umask 077;${search}t=;p=none;` +
    place(MEMORY_PLACES, '&&case $(stat -f -c %T "$c" 2>/dev/null) in tmpfs|ramfs) ;; *) false;; esac') +
    (disk ? place(DISK_PLACES, '') : '') +
    '[ -n "$t" ]&&exec 8<$t/n 9>$t/n&&rm -rf $t;' +
    `l=missing;[ -z "${loader}" ]||[ -e "${loader}" ]&&l=there;[ -e /proc/self/fd/0 ]||p=noproc;z=none;for c in ${TOOLS};do command -v $c >/dev/null||z=$c;done;` +
    'echo "RT0 $(uname -m) $l $p $z;" >&4;read -r k h <&3||exit 1;head -c $k <&3|gzip -dc >&9;exec 9>&-;' +
    's=$(sha256sum </proc/self/fd/8);[ "${s%% *}" = "$h" ]||{ echo tendril: checksum of the runtime does not fit;exit 76;};' +
    // The name of the file is gone, so children of that process need another way to its program.
    `echo "RT1;" >&4;exec /proc/self/fd/8 -e ${quote(`process.argv[0]=process.execPath=process.argv.pop();${FIRST_STAGE}`, 'first stage')} ${quote(title, 'title')} /proc/self/exe`,
  );
}

const OFFER = /RT0 (\S{1,64}) (there|missing) (\S{1,256}) (\w+);|EC0 v/;
const DONE = 'RT1;';

/** Why the target cannot take the runtime, by what it said of itself. */
function refusal(runtime: Runtime, [, machine = '', loader, place, lacking]: RegExpExecArray): [ConnectReason, string] | undefined {
  if (!runtime.machines.includes(machine)) return ['RUNTIME_PLATFORM', `the target has the processor ${printable(machine, 64)}, and ${runtime.path} is for ${runtime.machines.join(' or ')}: give the path of a Node for it`];
  if (lacking !== 'none') return ['RUNTIME_PLATFORM', `the target has no ${lacking ?? ''}: to take a Node it needs ${TOOLS.replaceAll(' ', ', ')}`];
  if (loader === 'missing') return ['RUNTIME_PLATFORM', `the target has no ${runtime.loader}, which ${runtime.path} needs: it has another C library; give the path of a Node for that`];
  if (place === 'noproc') return ['RUNTIME_NO_PLACE', 'the target has no /proc, without which a program that has no name cannot be started'];
  if (place === 'none') return ['RUNTIME_NO_PLACE', `there is no place in memory on the target where ${String(Math.ceil(runtime.size / 1_048_576))} MiB fit and programs may run: enlarge /dev/shm, mount a tmpfs with exec on /run, or allow a disk (runtime: { disk: true })`];
  return undefined;
}

/**
 * Sends a runtime to a process that runs the {@link deliveryStage}; emits the transport when it has become that runtime, or
 * when it has found a Node by itself.
 */
export function deliver(transport: Transport, runtime: Runtime, { timeoutMs = DEFAULT_TIMEOUT_MS }: ShipOptions, broker: Broker): Observable<Transport> {
  return new Observable((subscriber) => {
    let received = Buffer.alloc(0);
    let offered = false;
    const fail = (reason: ConnectReason, message: string): void => {
      subscriber.error(new ConnectError(reason, message, { phase: 'runtime', output: said() }));
    };
    const lastWords = new LastWords(transport, broker, () => {
      subscriber.error(lastWords.error('runtime', said()));
    });
    const said = (): string => printable(Buffer.from((lastWords.output + received.toString('latin1')).slice(-MAX_OUTPUT), 'latin1').toString('utf8'), MAX_OUTPUT);
    const give = (rest: Buffer): void => {
      subscription.unsubscribe();
      subscriber.next(withRest(transport, rest));
      subscriber.complete();
    };
    const onChunk = (chunk: Uint8Array): void => {
      received = Buffer.concat([received, chunk]);
      const text = received.toString('latin1');
      if (offered) {
        const at = text.indexOf(DONE);
        if (at >= 0) give(received.subarray(at + DONE.length));
      } else {
        const offer = OFFER.exec(text);
        if (offer?.[0].startsWith('EC0') === true) {
          give(received);
          return;
        }
        const why = offer === null ? undefined : refusal(runtime, offer);
        if (why !== undefined) fail(...why);
        else if (offer !== null) {
          offered = true;
          received = Buffer.alloc(0);
          transport.link.write([Buffer.from(`${String(runtime.compressed.length)} ${runtime.sha256}\n`), runtime.compressed]);
        }
      }
      if (received.length > MAX_NOISE) fail('CONNECT_EOF', `more than ${String(MAX_NOISE)} bytes came before the target took the runtime; is something else than a shell at the other end?`);
    };
    const subscription = broker.after(timeoutMs, () => {
      fail('CONNECT_TIMEOUT', `the runtime was not delivered within ${String(timeoutMs)} ms; raise timeoutMs of the option runtime`);
    });
    const onEnd = (): void => {
      lastWords.linkEnded();
    };
    subscription.add(lastWords.watch());
    subscription.add(transport.link.chunks.subscribe({ next: onChunk, error: onEnd, complete: onEnd }));
    return subscription;
  });
}

/** The transport with bytes that have been read already. */
function withRest(transport: Transport, rest: Buffer): Transport {
  let unread = [rest];
  const chunks = defer(() => {
    const first = unread;
    unread = [];
    return concat(of(...first), transport.link.chunks);
  });
  return {
    link: new WrappedLink(transport.link, chunks),
    output: transport.output,
    exited: transport.exited,
    kill: (signal) => { transport.kill(signal); },
    explain: (evidence) => transport.explain?.(evidence) ?? classifyExit(evidence),
  };
}
