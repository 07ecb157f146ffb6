import { filter, firstValueFrom, take, toArray } from 'rxjs';
import * as grove from '../fixtures/grove.mjs';

const ignore = { error: () => {} };

// Also for a master that runs in a process of its own, so it is plain JavaScript.
export async function plant(master, hung) {
  const hanging = firstValueFrom(master.logs.pipe(filter(({ message }) => message === 'about to hang'), take(4), toArray()));
  const branches = await Promise.all([0, 1, 2, 3].map(async (number) => {
    const top = master.local({ name: `top${number}` });
    const mid = master.local({ name: `mid${number}`, via: top });
    const low = master.local({ name: `low${number}`, via: mid });
    const pids = [top, mid, low].map((context) => firstValueFrom(context.call(grove.pid)));
    const made = [firstValueFrom(top.call(grove.grow, [1])), firstValueFrom(low.call(grove.grow, [2, 2], hung && number < 2))];
    return { top, mid, low, pids: (await Promise.all([...pids, ...made])).flat() };
  }));
  if (hung) {
    // Beside these, in branches 0 and 1, a leaf that swallows SIGTERM.
    branches[0].mid.call(grove.hang, false).subscribe(ignore);
    branches[1].low.call(grove.hang, true).subscribe(ignore);
    await hanging;
  }
  return branches;
}
