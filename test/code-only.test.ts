import { describe, expect, it } from '@jest/globals';
import { codeOnly } from '../src/master/modules/code-only.ts';

describe('codeOnly()', () => {
  it.each([
    ['a // b\nc', 'a     \nc'],
    ['a /* b\nc */ d', 'a     \n     d'],
    ["a('b', \"c'd\") + e", 'a(   ,      ) + e'],
    [String.raw`a = 'b\'c' + d`, 'a =        + d'],
    ['a = `b` + c', 'a =     + c'],
    ['a = `b${c + `d${e}` }f` + g', 'a =    (c +    (e)  )   + g'],
    ['a = `b${{ c: 1 }.c}` + d', 'a =    ({ c: 1 }.c)  + d'],
    [String.raw`a = /b['"\/]/g.test(c) / d / e`, 'a =           .test(c) / d / e'],
    ["return /'/.test(a)", 'return    .test(a)'],
    ['(a + b) / c / d', '(a + b) / c / d'],
    ['#!/usr/bin/env node\na', '                   \na'],
    ["a = 'not ended\nb", 'a =           \nb'],
    ['a = `not ended', 'a =           '],
    ['a /* not ended', 'a             '],
  ])('keeps what is code of %s', (source, code) => {
    expect(codeOnly(source)).toBe(code);
  });
});
