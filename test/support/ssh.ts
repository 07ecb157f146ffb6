import { firstValueFrom, lastValueFrom, map, reduce } from 'rxjs';
import type { Observable } from 'rxjs';
import type { Broker } from '../../src/core/broker/broker.ts';
import { openSsh } from '../../src/parent/connection/ssh/ssh.ts';
import type { SshOptions } from '../../src/parent/connection/ssh/ssh.ts';
import type { ExitStatus, FirstStage, Transport } from '../../src/parent/connection/transport.ts';

/** A stand-in for the first stage: any command line. */
export function stageOf(shellLine: string): FirstStage {
  return { shellLine, argv: ['sh', '-c', shellLine] };
}

/** Opens a transport that runs `command`. */
export function open(options: SshOptions, command: string, broker: Broker): Promise<Transport> {
  return firstValueFrom(openSsh(options, stageOf(command), broker));
}

/** Everything that a stream of bytes gives, as text. */
export function textOf(chunks: Observable<Uint8Array>): Promise<string> {
  return lastValueFrom(chunks.pipe(reduce((all, chunk) => Buffer.concat([all, chunk]), Buffer.alloc(0)))).then(String);
}

/** What a command printed and how it ended. */
export interface Outcome {
  readonly stdout: string;
  readonly stderr: string;
  readonly exit: ExitStatus;
}

/** Gives a command its input and reads it to its end. */
export async function finish(transport: Transport, input = ''): Promise<Outcome> {
  const { link } = transport;
  const stderr = textOf(transport.output.pipe(map(({ bytes }) => bytes)));
  const stdout = textOf(link.chunks);
  link.write([Buffer.from(input)]);
  link.end();
  return { stdout: await stdout, exit: await firstValueFrom(transport.exited), stderr: await stderr };
}

/** The error of a connection that must fail. */
export async function failureOf(options: SshOptions, broker: Broker, command = 'true'): Promise<Error & { reason: string; phase: string; output: string }> {
  let transport: Transport;
  try {
    transport = await open(options, command, broker);
  } catch (error) {
    return error as Error & { reason: string; phase: string; output: string };
  }
  transport.kill('SIGKILL');
  throw new Error('the connection came up');
}
