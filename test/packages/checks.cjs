'use strict';
// What each package is asked to do once it is loaded: its real work, in small. Run in a child of a master, and by plain
// Node from the disk; both must give the same value, so nothing here depends on time, ports or order.
// `m` is what `require` or `import * as` gives; `other` is the package of `ALSO` in entries.mjs.
const { once } = require('node:events');
const http = require('node:http');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { Readable, Writable } = require('node:stream');

/** The main export, whichever way the package was loaded. */
const main = (m) => m.default ?? m;

/** Gives work the origin of a server on loopback. */
async function withServer(server, work) {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    return await work(`http://127.0.0.1:${server.address().port}`, server.address().port);
  } finally {
    server.closeAllConnections?.();
    server.close();
  }
}

/** Says hello, and repeats what is posted to it. */
const hello = () =>
  http.createServer((request, response) => {
    if (request.method !== 'POST') return void response.end(`hello ${request.url}`);
    request.pipe(response);
  });

async function text(url, options) {
  return (await fetch(url, options)).text();
}

/** The code (or name) of what an operation fails with. */
async function failure(operation) {
  try {
    await operation();
  } catch (error) {
    return error.code ?? error.errors?.[0]?.code ?? error.name;
  }
  return 'no error';
}

/** A port on which nobody listens. */
async function closedPort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

function sink() {
  const written = { text: '' };
  const stream = new Writable({ write: (chunk, encoding, done) => { written.text += chunk; done(); } });
  return Object.assign(stream, { written });
}

const checks = {
  // The twenty that a child of its own is started for.
  lodash: (m) => [main(m).chunk([1, 2, 3], 2), main(m).template('<%= a %>!')({ a: 1 }), main(m).kebabCase('fooBar')],

  async express(m) {
    const app = main(m)();
    app.use(main(m).json());
    app.get('/who/:name', (request, response) => response.json({ name: request.params.name }));
    app.post('/sum', (request, response) => response.send(String(request.body.a + request.body.b)));
    return withServer(http.createServer(app), async (origin) => [
      await text(`${origin}/who/me`),
      await text(`${origin}/sum`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"a":1,"b":2}' }),
      (await fetch(`${origin}/nowhere`)).status,
    ]);
  },

  axios: (m) => withServer(hello(), async (origin) => [(await main(m).get(`${origin}/a`)).data, (await main(m).post(origin, { a: 1 })).data]),

  chalk: (m) => [new m.Chalk({ level: 1 }).red('x'), new m.Chalk({ level: 3 }).bold.hex('#abcdef')('y')],

  zod(m) {
    const shape = m.z.object({ a: m.z.number().int(), b: m.z.email().optional() });
    return [shape.parse({ a: 1 }), shape.safeParse({ a: 'x', b: 'y' }).error.issues.map(({ code, path: at }) => [code, at])];
  },

  /** A whole conversation: a server and a client on loopback. */
  async ssh2(m) {
    const { Client, Server, utils } = main(m);
    // Not ed25519: ssh2 drops a leading zero byte of some of those.
    const keys = utils.generateKeyPairSync('ecdsa', { bits: 256 });
    const server = new Server({ hostKeys: [keys.private] }, (client) => {
      client.on('error', () => undefined);
      client.on('authentication', (context) => { if (context.method === 'password' && context.password === 'open') context.accept(); else context.reject(); });
      client.on('session', (accept) => accept().on('exec', (take, _reject, { command }) => {
        const channel = take();
        channel.write(`ran ${command}`);
        channel.exit(3);
        channel.end();
      }));
    });
    return withServer(server, async (_origin, port) => {
      const client = new Client().connect({ host: '127.0.0.1', port, username: 'me', password: 'open' });
      await once(client, 'ready');
      const channel = await new Promise((resolve, reject) => client.exec('date', (error, stream) => { if (error) reject(error); else resolve(stream); }));
      let output = '';
      channel.on('data', (chunk) => { output += chunk; });
      const [code] = await once(channel, 'close');
      client.end();
      await once(client, 'close');
      return [output, code, utils.parseKey(keys.private).type];
    });
  },

  async winston(m) {
    const { createLogger, format, transports } = m.format ? m : m.default;
    const stream = sink();
    const logger = createLogger({ level: 'debug', format: format.combine(format.splat(), format.json()), transports: [new transports.Stream({ stream })] });
    logger.warn('hello %s', 'you', { a: 1 });
    logger.end();
    await once(logger, 'finish');
    return stream.written.text;
  },

  typescript(m) {
    const { outputText, diagnostics } = main(m).transpileModule('enum A { B = 1 } export const a: A = A.B;', { reportDiagnostics: true });
    return [outputText, diagnostics.length, main(m).ScriptTarget.ES2022];
  },

  '@babel/core'(m) {
    const plugin = ({ types }) => ({ visitor: { NumericLiteral(at) { if (at.node.value === 1) at.replaceWith(types.numericLiteral(2)); } } });
    return main(m).transformSync('const a = b?.c ?? 1;', { configFile: false, babelrc: false, plugins: [plugin] }).code;
  },

  async fastify(m) {
    const app = main(m)({ logger: false });
    app.get('/', { schema: { response: { 200: { type: 'object', properties: { a: { type: 'integer' } } } } } }, async () => ({ a: 1, hidden: 2 }));
    app.get('/fails', async () => { throw new Error('as asked'); });
    const origin = await app.listen({ port: 0, host: '127.0.0.1' });
    try {
      return [await text(origin), await text(`${origin}/fails`), (await app.inject('/')).statusCode];
    } finally {
      await app.close();
    }
  },

  async pg(m) {
    const { Client, escapeLiteral, types } = main(m);
    const client = new Client({ host: '127.0.0.1', port: await closedPort(), user: 'nobody' });
    return [types.getTypeParser(23)('42'), escapeLiteral("it's"), await failure(() => client.connect())];
  },

  async ws(m) {
    const WebSocket = m.WebSocket ?? main(m);
    const server = new (m.WebSocketServer ?? main(m).WebSocketServer)({ port: 0, host: '127.0.0.1', perMessageDeflate: true });
    await once(server, 'listening');
    server.on('connection', (socket) => { socket.on('message', (data) => { socket.send(`echo ${data}`); }); });
    const socket = new WebSocket(`ws://127.0.0.1:${server.address().port}`);
    await once(socket, 'open');
    socket.send('x'.repeat(2000));
    const [answer] = await once(socket, 'message');
    socket.terminate();
    server.close();
    return String(answer).length;
  },

  uuid: (m) => [m.v5('x', m.v5.DNS), m.validate(m.v7()), m.version(m.v4())],

  'date-fns': (m) => [m.format(new Date(2020, 0, 2, 13), 'PPPP p'), m.formatDistance(0, 3 * 86_400_000), m.add(new Date(2020, 0, 31), { months: 1 }).getMonth()],

  rxjs: (m) => m.lastValueFrom(m.of(1, 2, 3).pipe(m.map((n) => n * 2), m.delay(1), m.toArray())),

  async execa(m) {
    const { exitCode, stdout } = await m.execa(process.execPath, ['-e', 'console.log(1 + 1); process.exitCode = 3'], { reject: false });
    return [stdout, exitCode];
  },

  yaml: (m) => [main(m).parse('a: [1, two]\nb: &x {c: d}\ne: *x'), main(m).stringify({ a: [1, { b: null }] })],

  commander(m) {
    const program = new m.Command('prog').option('-n <count>', 'how many', Number).argument('<file>').action(() => undefined);
    program.parse(['-n', '3', 'file'], { from: 'user' });
    return [program.opts(), program.args, program.helpInformation()];
  },

  got: (m) => withServer(hello(), async (origin) => {
    const got = main(m);
    return [await got(`${origin}/a`, { retry: { limit: 0 } }).text(), await got.post(origin, { json: { a: 1 } }).json(), await failure(() => got('http://127.0.0.1:1', { retry: { limit: 0 } }))];
  }),

  undici: (m) => withServer(hello(), async (origin) => {
    const agent = new m.Agent();
    const { body, statusCode } = await m.request(`${origin}/a`, { dispatcher: agent });
    const answer = [statusCode, await body.text(), await (await m.fetch(origin, { method: 'POST', body: 'b', dispatcher: agent })).text()];
    await agent.destroy();
    return answer;
  }),

  // The others.
  'typescript-latest': (m) => main(m),

  'babel-core-8': (m) => checks['@babel/core'](m),
  'chalk-6': (m) => checks.chalk(m),
  'commander-15': (m) => checks.commander(m),
  'execa-10': (m) => checks.execa(m),
  'got-16': (m) => checks.got(m),
  'undici-8': (m) => checks.undici(m),

  acorn: (m) => m.parse('a => a ** 2', { ecmaVersion: 2024 }).body[0].type,

  ajv(m) {
    const Ajv = m.Ajv ?? main(m);
    const validate = new Ajv().compile({ type: 'object', properties: { a: { type: 'integer', minimum: 2 } }, required: ['a'] });
    return [validate({ a: 3 }), validate({ a: 1 }), validate.errors];
  },

  async: (m) => main(m).mapLimit([1, 2, 3], 2, async (n) => n * 2),

  bcrypt: (m) => main(m).compareSync('secret', main(m).hashSync('secret', 4)),

  'better-sqlite3'(m) {
    const db = new (main(m))(':memory:');
    return db.prepare('select 1 + 1 as sum').get();
  },

  bluebird: (m) => main(m).map([1, 2, 3], (n) => main(m).delay(1).return(n * 2), { concurrency: 2 }).then((all) => [...all]),

  'cbor-x': (m) => [m.encode({ a: [1, 'x'] }).toString('hex'), m.decode(m.encode(new Map([[1, 2]])))],

  cheerio(m) {
    const $ = m.load('<ul><li>a</li><li class="b">c</li></ul>');
    $('.b').text('d');
    return $('ul').html();
  },

  async chokidar(m) {
    const watcher = main(m).watch([], { persistent: false });
    await watcher.close();
    return Object.keys(watcher.getWatched());
  },

  async 'csv-parse'(m) {
    return new Promise((resolve, reject) => m.parse('a,b\n1,"2,3"\n', { columns: true }, (error, rows) => { if (error) reject(error); else resolve(rows); }));
  },

  dayjs: (m) => main(m)('2020-01-31').add(1, 'month').format('dddd YYYY-MM-DD'),

  debug(m) {
    const log = main(m)('x:y');
    const said = [];
    log.enabled = true;
    log.log = (...args) => { said.push(args.length); };
    log('hello %o', { a: 1 });
    return [said, main(m).coerce(new Error('x')).startsWith('Error: x')];
  },

  ejs: (m) => main(m).render('<% for (const a of list) { %>[<%= a %>]<% } %>', { list: ['<', 2] }),

  async eslint(m) {
    const linter = new m.Linter();
    return linter.verify('var a = 1; if (a == null) { undefinedThing() }', { rules: { 'no-var': 'error', 'no-undef': 'error', eqeqeq: 'warn' } }).map(({ ruleId, line, column }) => [ruleId, line, column]);
  },

  async 'fs-extra'(m) {
    const fs = main(m);
    const directory = await fs.mkdtemp(path.join(os.tmpdir(), 'tendril-package-'));
    try {
      await fs.outputJson(path.join(directory, 'a/b.json'), { c: 1 });
      await fs.copy(path.join(directory, 'a'), path.join(directory, 'd'));
      return [await fs.readJson(path.join(directory, 'd/b.json')), await fs.pathExists(path.join(directory, 'e'))];
    } finally {
      await fs.remove(directory);
    }
  },

  glob: async (m) => (await m.glob('null', { cwd: '/dev' })).concat(m.hasMagic('*.js')),

  graphql: (m) => m.graphql({ schema: m.buildSchema('type Query { a(b: Int!): String }'), source: '{ a(b: 2) nope }' }).then(({ errors }) => errors.map(({ message }) => message)),

  handlebars: (m) => main(m).compile('{{#each list}}<{{this}}>{{/each}}')({ list: ['&', 1] }),

  hono: async (m) => {
    const app = new m.Hono();
    app.get('/a/:b', (context) => context.json({ b: context.req.param('b') }));
    return [await (await app.request('/a/c')).text(), (await app.request('/x')).status];
  },

  'iconv-lite': (m) => [main(m).decode(Buffer.from([0xe9, 0x80]), 'win1252'), main(m).encode('日本', 'shift_jis').toString('hex')],

  immutable: (m) => m.fromJS({ a: [1, { b: 2 }] }).setIn(['a', 1, 'b'], 3).toJS(),

  async inquirer(m) {
    const input = new Readable({ read() {} });
    const ask = main(m).createPromptModule({ input, output: sink() });
    const answers = ask([{ type: 'input', name: 'a', message: 'say' }]);
    setTimeout(() => { input.push('hi\n'); }, 20);
    return { ...(await answers) };
  },

  async ioredis(m) {
    const Redis = m.Redis ?? main(m);
    const server = net.createServer((socket) => { socket.on('error', () => undefined); socket.on('data', (data) => { socket.write(data.includes('get') ? '$2\r\nhi\r\n' : '+OK\r\n'); }); });
    return withServer(server, async (_origin, port) => {
      const redis = new Redis({ host: '127.0.0.1', port, lazyConnect: true, enableReadyCheck: false, disableClientInfo: true });
      await redis.connect();
      const value = await redis.get('a');
      redis.disconnect();
      return value;
    });
  },

  joi: (m) => main(m).object({ a: main(m).number().min(2), b: main(m).string().email() }).validate({ a: 1, b: 'x' }, { abortEarly: false }).error.details.map(({ message }) => message),

  'js-yaml': (m) => [m.load('a: [1, 0x10]\nb: >\n  c\n  d\n'), m.dump({ a: ['b'] })],

  jsdom(m) {
    const { window } = new m.JSDOM('<p id="a" style="color: red">x</p><script>document.title = 1 + 1</script>', { runScripts: 'dangerously' });
    const { document } = window;
    const values = [document.title, window.getComputedStyle(document.getElementById('a')).color, window.getComputedStyle(document.getElementById('a')).display];
    window.close();
    return values;
  },

  jsonwebtoken: (m) => main(m).verify(main(m).sign({ a: 1 }, 'k', { noTimestamp: true }), 'k'),

  knex: (m) => main(m)({ client: 'pg' })('t').where({ a: 1 }).whereIn('b', [2, 3]).select('c').toString(),

  async koa(m) {
    const app = new (main(m))();
    app.use(async (context, next) => { await next(); context.set('x-a', 'b'); });
    app.use((context) => { context.body = { path: context.path }; });
    return withServer(http.createServer(app.callback()), async (origin) => {
      const response = await fetch(`${origin}/a`);
      return [response.headers.get('x-a'), await response.text()];
    });
  },

  luxon: (m) => m.DateTime.fromISO('2020-01-31T12:00', { zone: 'Europe/Paris' }).plus({ months: 1 }).toISO(),

  marked: (m) => m.marked.parse('# a\n\n- b `c`\n'),

  'mime-types': (m) => [main(m).lookup('a.json'), main(m).contentType('b.html'), main(m).extension('image/png')],

  minimatch: (m) => [m.minimatch('a/b/c.js', 'a/**/*.js'), m.minimatch('a.ts', '*.js'), m.braceExpand('{a,b}{1..3}')],

  moment: (m) => main(m).utc(0).locale('en').add(1, 'month').format('LLLL'),

  async mongodb(m) {
    const client = new m.MongoClient(`mongodb://127.0.0.1:${await closedPort()}`, { serverSelectionTimeoutMS: 100 });
    const failed = await failure(() => client.connect());
    await client.close();
    return [failed, m.BSON.calculateObjectSize({ a: 1 }), m.ObjectId.isValid('x')];
  },

  mustache: (m) => main(m).render('{{#a}}{{b}}{{/a}}', { a: [{ b: '<' }, { b: 2 }] }),

  async mysql2(m) {
    const port = await closedPort();
    return [main(m).format('select ? from ??', ["it's", 'a b']), await failure(() => new Promise((resolve, reject) => main(m).createConnection({ host: '127.0.0.1', port }).on('error', reject)))];
  },

  nanoid: (m) => [m.nanoid().length, m.customAlphabet('a', 5)()],

  'node-fetch': (m) => withServer(hello(), async (origin) => [await (await main(m)(`${origin}/a`)).text(), await (await main(m)(origin, { method: 'POST', body: 'b' })).text()]),

  async nodemailer(m) {
    const transport = main(m).createTransport({ streamTransport: true, buffer: true, newline: 'unix' });
    const { envelope, message } = await transport.sendMail({ from: 'a@example.org', to: 'b@example.org', subject: 'é', text: 'hello', date: new Date(0), messageId: '<x@example.org>' });
    return [envelope, String(message)];
  },

  nunjucks: (m) => [main(m).renderString('{% for a in list %}{{ loop.index }}{{ a }}{% endfor %}', { list: ['<', 'b'] }), typeof main(m).configure],

  ora(m) {
    const stream = sink();
    const spinner = main(m)({ text: 'work', stream, isEnabled: false, color: false }).start();
    spinner.succeed('done');
    return stream.written.text.replace(/[^\x20-\x7e\n]/g, '?');
  },

  async 'p-queue'(m) {
    const queue = new (main(m))({ concurrency: 1 });
    return queue.addAll([async () => 1, async () => 2]);
  },

  async pino(m) {
    const stream = sink();
    main(m)({ base: null, timestamp: false, redact: ['secret'] }, stream).child({ a: 1 }).info({ secret: 'x' }, 'hello %s', 'you');
    return stream.written.text;
  },

  postcss: async (m) => {
    const plugin = { postcssPlugin: 'red', Declaration: (node) => { if (node.value === 'red') node.value = 'blue'; } };
    return (await main(m)([plugin]).process('a { color: red }', { from: undefined })).css;
  },

  prettier: async (m) => [await m.format('const a={b:1}', { parser: 'babel' }), await m.format('a{b:c}', { parser: 'css' })],

  protobufjs(m) {
    const { root } = main(m).parse('syntax = "proto3"; message A { int32 b = 1; string c = 2; }');
    const A = root.lookupType('A');
    return [Buffer.from(A.encode({ b: 3, c: 'd' }).finish()).toString('hex'), A.decode(A.encode({ b: 4 }).finish()).b];
  },

  pug: (m) => main(m).render('ul\n  each a in list\n    li(class=a)= a', { list: ['b', '<'] }),

  ramda: (m) => m.pipe(m.groupBy((n) => (n % 2 ? 'odd' : 'even')), m.map(m.sum))([1, 2, 3]),

  'react-dom/server': (m, react) => m.renderToStaticMarkup(react.createElement('p', { className: 'a' }, 'b', '<')),

  semver: (m) => [main(m).satisfies('1.2.3', '^1.1'), main(m).inc('1.2.3', 'minor'), main(m).maxSatisfying(['1.0.0', '1.5.0', '2.0.0'], '1')],

  async 'socket.io'(m, client) {
    const server = http.createServer();
    const io = new m.Server(server);
    io.on('connection', (socket) => { socket.on('double', (n, answer) => { answer(n * 2); }); });
    return withServer(server, async (origin) => {
      const socket = client.io(origin, { transports: ['websocket'] });
      const doubled = await socket.emitWithAck('double', 21);
      socket.close();
      await io.close();
      return doubled;
    });
  },

  async 'source-map'(m) {
    const generator = new m.SourceMapGenerator({ file: 'a.js' });
    generator.addMapping({ generated: { line: 3, column: 4 }, original: { line: 1, column: 2 }, source: 'a.ts', name: 'x' });
    return m.SourceMapConsumer.with(generator.toString(), null, (consumer) => ({ ...consumer.originalPositionFor({ line: 3, column: 4 }) }));
  },

  superagent: (m) => withServer(hello(), async (origin) => [(await main(m).get(`${origin}/a`).buffer(true)).text, (await main(m).post(origin).send({ a: 1 })).status]),

  terser: async (m) => (await m.minify('function add(first, second) { const sum = first + second; return sum }', { toplevel: false })).code,

  tslib: (m) => [m.__rest({ a: 1, b: 2 }, ['a']), m.__spreadArray([1], [2], false)],

  async 'web-tree-sitter'(m) {
    await m.Parser.init();
    const parser = new m.Parser();
    parser.delete();
    return m.LANGUAGE_VERSION;
  },

  async yargs(m) {
    const argv = await main(m)(['--n', '3', 'file', '-v']).option('n', { type: 'number' }).boolean('v').exitProcess(false).parse();
    return { n: argv.n, v: argv.v, _: argv._ };
  },

  async zx(m) {
    const result = await m.$({ quiet: true })`echo ${"it's"}`;
    return [result.stdout, result.exitCode];
  },
};

exports.names = Object.keys(checks);

/** What a package exports, and what its check gives. */
exports.check = async (name, m, other) => ({ exports: Object.keys(m).sort(), value: await checks[name](m, other) });
