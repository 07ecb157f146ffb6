// What runs in a context for the methods of a Context that do more than to call: one module, which goes through the
// importer as the user's own do (docs/decisions.md, D-110).
export { commandOutput, runCommand, signalCommand } from './commands/run.ts';
export { discardFile, receiveBytes, receiveFile } from './files/receive.ts';
export { sendFile } from './files/send.ts';
export { isDirectory, listTree, makeDirectories, makeLinks, setDirectories } from './files/tree.ts';
export { relayFile } from './files/relay.ts';
