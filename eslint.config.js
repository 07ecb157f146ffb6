import tseslint from 'typescript-eslint';
import rxjsX from 'eslint-plugin-rxjs-x';
import { defineConfig } from 'eslint/config';

export default defineConfig(
  { ignores: ['dist', 'dist-examples', 'docs', 'coverage', 'tools', 'benchmarks', 'tmp-*', '*.config.js', '*.cjs', 'test/{fixtures,packages}/**/*.{js,mjs,cjs,mts,cts}', 'test/types.check.ts'] },
  tseslint.configs.strictTypeChecked,
  tseslint.configs.stylisticTypeChecked,
  rxjsX.configs.strict,
  {
    rules: {
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // Teardown of what lives as long as its owner is done by the owner.
      'rxjs-x/no-ignored-subscription': 'off',
      'rxjs-x/no-ignored-default-value': 'off',
      // Only errors of users' functions are anyone's; typing them would be a guess.
      'rxjs-x/throw-error': 'off',
      // Most of our observables say in their type or doc that they never error; a handler there would be dead code.
      'rxjs-x/no-ignored-error': 'off',
      // Whether an error type is annotated in a callback changes nothing at run time.
      'rxjs-x/no-implicit-any-catch': 'off',
    },
  },
  {
    files: ['test/**/*.ts', 'property-tests/**/*.ts'],
    rules: {
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/only-throw-error': 'off',
      '@typescript-eslint/prefer-promise-reject-errors': 'off',
      // Static methods are handed to call() unbound on purpose, and narrowed after an expectation.
      '@typescript-eslint/unbound-method': 'off',
      '@typescript-eslint/no-unsafe-class-instance-assignment': 'off',
      '@typescript-eslint/no-unnecessary-type-assertion': 'off',
    },
  },
  { files: ['**/*.ts'], languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } } },
);
