import type { Secret } from '../../core/wire/secret.ts';

/** The text of a secret given either way. */
export function reveal(value: string | Secret): string {
  return typeof value === 'string' ? value : value.reveal();
}
