/** Refuses the main script of this process where it has no guard: in a child it would start itself once more. */
export function checkMainScript(url: string, source: string): void {
  if (url === '' && source === '') throw new TypeError('a main script has a URL');
}
