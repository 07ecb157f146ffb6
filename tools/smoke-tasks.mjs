export const sum = (a, b) => a + b;

export const version = () => process.version;

export async function* count(to) {
  console.log('counting');
  for (let n = 0; n < to; n++) yield n;
}

export function fail() {
  throw Object.assign(new Error('as asked'), { code: 'E_SMOKE' });
}

export function hangs() {
  for (;;);
}
