/** The name of a context that has none of its own: the method, and what it leads to. */
export function defaultName(method: string, options: object): string {
  const given = options as Readonly<Record<string, unknown>>;
  const text = (name: string): string | undefined => (typeof given[name] === 'string' || typeof given[name] === 'number' ? String(given[name]) : undefined);
  const [host, username] = [text('host'), text('username')];
  if (host !== undefined) return `${method}.${username === undefined ? '' : `${username}@`}${host}`;
  if (method === 'sudo' || method === 'su' || method === 'doas') return `${method}.${username ?? 'root'}`;
  if (method === 'command') return `${method}.${Array.isArray(given['argv']) ? String(given['argv'][0]).replace(/^.*\//, '') : ''}`;
  return `${method}.${['container', 'image', 'pod', 'pid', 'directory'].map(text).find((found) => found !== undefined) ?? String(process.pid)}`;
}

/** Whether a direct child runs the very Node of this process. A path that leads to it by another name is not worth a look at the disk. */
export function runsThisNode(method: string, { nodePath = process.execPath }: Readonly<Record<string, unknown>>): boolean {
  return method === 'local' && [nodePath].flat().join('\0') === process.execPath;
}
