// Cuts chunks into frames as the plain relay does.

const HEADER = 16;

/** Takes chunks, and gives each whole frame to `deliver` when its header has been read. */
export function frames(deliver) {
  let rest;
  return (chunk) => {
    const bytes = rest === undefined ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    while (bytes.length - at >= HEADER) {
      const header = { dst: bytes.readUInt16BE(at), src: bytes.readUInt16BE(at + 2), handle: bytes.readUInt32BE(at + 4), replyTo: bytes.readUInt32BE(at + 8), length: bytes.readUInt32BE(at + 12) };
      const end = at + HEADER + header.length;
      if (end > bytes.length) break;
      deliver(bytes.subarray(at, end), header);
      at = end;
    }
    rest = at < bytes.length ? bytes.subarray(at) : undefined;
  };
}
