export * from './ssh-server.ts';
export { VirtualBroker } from '../core/broker/virtual-broker.ts';
export { VirtualLinks, virtualLinks } from '../core/broker/virtual-link.ts';
export type { VirtualLinkOptions } from '../core/broker/virtual-link.ts';
export { seededRandom, seededSplitter } from '../core/broker/seeded.ts';
export type { Splitter } from '../core/broker/seeded.ts';
