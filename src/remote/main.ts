// What runs in a context for the methods of a Context that do more than to call: one module, which goes through the
// importer as the user's own do (docs/decisions.md, D-110).
export { commandOutput, runCommand, signalCommand } from './commands/run.ts';
