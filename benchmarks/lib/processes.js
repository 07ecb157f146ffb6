// What /proc knows of processes.
import { readFileSync, readdirSync } from 'node:fs';

/** Parent of each process, without those that are dead and only not reaped. */
function parents() {
  const table = new Map();
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      // The name in parentheses can hold anything; the last one ends it.
      const [state, parent] = readFileSync(`/proc/${entry}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ');
      if (state !== 'Z' && state !== 'X') table.set(Number(entry), Number(parent));
    } catch {
      // It ended while we looked.
    }
  }
  return table;
}

/** Process ids of everything below `pid`. */
export function descendants(pid) {
  const table = parents();
  const found = [pid];
  for (let index = 0; index < found.length; index++) for (const [child, parent] of table) if (parent === found[index]) found.push(child);
  return found.slice(1);
}

/** Resident and proportional set size of processes together, in MB (10^6 bytes). */
export function memory(pids) {
  let rss = 0;
  let pss = 0;
  for (const pid of pids) {
    const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    const of = (name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(rollup)?.[1] ?? NaN) * 1024 / 1e6;
    rss += of('Rss');
    pss += of('Pss');
  }
  return { rss, pss };
}

/** Bytes of resident memory of a process. */
export function resident(pid) {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? NaN) * 1024;
}
