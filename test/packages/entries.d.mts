export type Way = 'require' | 'import';

export const TWENTY: readonly string[];
export const MORE: readonly string[];
export const WAYS: readonly Way[];

/** The URL of a module that loads a package in a way, and exports `run()`. */
export function entry(name: string, way: Way): URL;
