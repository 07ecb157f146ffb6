import module from 'node:module';

/** @type {import('jest').Config} */
export default {
  testMatch: ['<rootDir>/test/**/*.test.ts', '<rootDir>/property-tests/**/*.test.ts'],
  extensionsToTreatAsEsm: ['.ts'],
  moduleFileExtensions: ['ts', 'js', 'mjs', 'cjs', 'json'],
  moduleNameMapper: { '^tendril$': '<rootDir>/src/index.ts', '^tendril/testing$': '<rootDir>/src/testing/index.ts' },
  transform: module.stripTypeScriptTypes ? {} : { '\\.ts$': '<rootDir>/tools/strip-types.js' },
  collectCoverageFrom: ['src/**/*.ts'],
  coverageProvider: 'v8',
  testTimeout: 60_000,
};
