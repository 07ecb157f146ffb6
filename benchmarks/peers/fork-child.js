// The child of fork.js: adds, takes bytes, gives bytes.
process.on('message', ({ id, add, bytes, give }) => {
  if (add) process.send({ id, value: add[0] + add[1] });
  else if (bytes) process.send({ id, value: bytes.length });
  else {
    const { size, count, depth } = give;
    const block = Buffer.alloc(size, 7);
    let sent = 0;
    // A few messages at a time: the queue of `send` has no limit.
    const next = () => {
      if (sent++ < count) process.send({ bytes: block }, next);
    };
    for (let index = 0; index < depth; index++) next();
  }
});
