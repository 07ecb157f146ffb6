import { TendrilError } from '../../core/errors.ts';

/** A socket that others attach to could not be opened, or could not be attached to. */
export class AttachError extends TendrilError {
  static override readonly brand: string = 'AttachError';
}
