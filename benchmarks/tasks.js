// Functions that the benchmarks call in a Tendril child.

export function add(a, b) {
  return a + b;
}

/** Takes bytes. */
export function sink(bytes) {
  return bytes.length;
}

/** Gives `count` times `size` bytes. */
export async function* source(size, count) {
  const bytes = Buffer.alloc(size, 7);
  for (let sent = 0; sent < count; sent++) yield bytes;
}

/** Takes a stream of bytes. */
export async function consume(values) {
  let received = 0;
  for await (const bytes of values) received += bytes.length;
  return received;
}

/** What SHUTDOWN must be able to end. */
export function hang() {
  for (;;);
}
