// Ways to compress what is sent, compared over real closures.
import { brotliCompressSync, brotliDecompressSync, constants, deflateRawSync, inflateRawSync } from 'node:zlib';
import { deflateRaw } from 'pako';
import { joinRecords } from '../../dist/importer/batch.js';
import { ModulePolicy } from '../../dist/importer/policy.js';
import { ModuleGraph } from '../../dist/master/modules/module-graph.js';
import { closure } from '../../dist/parent/modules/closure.js';

const BROTLI_5 = { params: { [constants.BROTLI_PARAM_QUALITY]: 5 } };

const WAYS = {
  'not at all': [(parts) => [join(parts)], (packed) => packed],
  'deflate, each module by itself': [(parts) => parts.map((part) => deflateRawSync(part)), inflateRawSync],
  'deflate, one stream': [(parts) => [deflateRawSync(join(parts))], inflateRawSync],
  'deflate 1, one stream': [(parts) => [deflateRawSync(join(parts), { level: 1 })], inflateRawSync],
  'deflate 9, one stream': [(parts) => [deflateRawSync(join(parts), { level: 9 })], inflateRawSync],
  'deflate by pako, one stream': [(parts) => [deflateRaw(join(parts))], inflateRawSync],
  'brotli 5, one stream': [(parts) => [brotliCompressSync(join(parts), BROTLI_5)], brotliDecompressSync],
};

const join = (parts) => Buffer.concat(parts);

/** A row for each way: bytes of all closures together, and milliseconds for making and undoing them. */
export function compare(urls) {
  const graph = new ModuleGraph(new ModulePolicy({ allow: null, deny: [], local: [] }));
  const modulesOf = (url) => closure([url], (id) => graph.module(id, 'native'), ({ needs }) => needs, (id) => !id.startsWith('file:'));
  const closures = urls.map((url) => modulesOf(url).map(({ record }) => joinRecords([record])));
  const raw = closures.flat().reduce((sum, part) => sum + part.length, 0);
  return Object.entries(WAYS).map(([name, [pack, unpack]]) => {
    // Once for the compiler.
    pack(closures[0]);
    let bytes = 0;
    let ms = 0;
    let undo = 0;
    for (const parts of closures) {
      let begun = performance.now();
      const packed = pack(parts);
      ms += performance.now() - begun;
      begun = performance.now();
      for (const each of packed) {
        bytes += each.length;
        unpack(each);
      }
      undo += performance.now() - begun;
    }
    return { name, mb: bytes / 1e6, part: bytes / raw, median: ms, undo };
  });
}
