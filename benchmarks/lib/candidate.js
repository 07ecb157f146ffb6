// A candidate: a driver process (see peers/driver.js) that is told to do things, one at a time.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** Longer than any command takes; one that takes it is stuck. */
const COMMAND_MS = 60_000;
/** What a driver may take to end itself and its children. */
const CLOSE_MS = 8000;

export class Candidate {
  #process;
  #answers;
  #said = '';
  #exited;

  /** Starts a driver; undefined when it cannot run here, after saying why. */
  static async start(name, argv, notes) {
    const candidate = new Candidate(name, argv);
    try {
      await candidate.#answer();
      return candidate;
    } catch (error) {
      notes.push(`${name} is left out: ${error.message.trim().split('\n').at(-1)}`);
      await candidate.close();
      return undefined;
    }
  }

  constructor(name, [command, ...args]) {
    this.name = name;
    this.#process = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#exited = new Promise((resolve) => {
      this.#process.once('error', (error) => { this.#said += error.message; resolve(); }).once('exit', resolve);
    });
    this.#process.stdin.on('error', () => {});
    this.#process.stderr.setEncoding('utf8').on('data', (text) => { this.#said = (this.#said + text).slice(-4096); });
    this.#answers = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]();
  }

  get pid() {
    return this.#process.pid;
  }

  /** Gives a command and its result. */
  async ask(command, options = {}) {
    this.#process.stdin.write(`${JSON.stringify({ command, ...options })}\n`);
    const { value, error } = await this.#answer();
    if (error) throw new Error(`${this.name}, ${command}: ${error}`);
    return value;
  }

  async #answer() {
    let timer;
    const late = new Promise((resolve, reject) => {
      timer = setTimeout(() => { reject(new Error(`${this.name} does not answer; it said: ${this.#said}`)); }, COMMAND_MS);
    });
    try {
      const { value, done } = await Promise.race([this.#answers.next(), late]);
      if (done) {
        await this.#exited;
        throw new Error(this.#said || `${this.name} has ended`);
      }
      return JSON.parse(value);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Lets the driver end its children and itself. */
  async close() {
    this.#process.stdin.end();
    const timer = setTimeout(() => { this.#process.kill('SIGKILL'); }, CLOSE_MS);
    await this.#exited;
    clearTimeout(timer);
  }
}
