/** What may stand before a regular expression, and not before a division. */
const BEFORE_REGEX = /(?:^|[(,=:[!&|?{};+\-*%~^<>]|\b(?:await|case|delete|do|else|in|instanceof|of|return|throw|typeof|void|yield))\s*$/;
/** The longest keyword of those, and what is blank around it. */
const TAIL = 40;
const HASHBANG = /#![^\n]*/y;
const LINE_COMMENT = /\/\/[^\n]*/y;
const BLOCK_COMMENT = /\/\*[^]*?(?:\*\/|$)/y;
const STRING = /'(?:[^'\\\n]|\\[^])*'?|"(?:[^"\\\n]|\\[^])*"?/y;
const REGEX = /\/(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/y;
const PLAIN = /[^'"`/{}]+/y;
const TEMPLATE = /(?:[^`\\$]|\\[^]|\$(?!\{))*/y;

/**
 * A source text with spaces in place of comments and of what is in strings, templates and regular expressions: what is
 * left is code. Lines and offsets are kept. A scanner, not a parser: a regular expression right behind a parenthesis is
 * taken for a division.
 */
export function codeOnly(source: string): string {
  const parts: string[] = [];
  /** The end of the code so far, without what is blank. */
  let tail = '';
  let at = 0;
  /** For every brace that is open: whether it is one of a template. */
  const braces: boolean[] = [];
  const take = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    const text = pattern.exec(source)?.[0];
    at += text?.length ?? 0;
    return text;
  };
  const keep = (text: string): void => {
    parts.push(text);
    if (/\S/.test(text)) tail = (tail + text).slice(-TAIL);
  };
  const blank = (text: string): void => {
    parts.push(text.replace(/[^\n]/g, ' '));
  };
  const template = (): void => {
    blank(take(TEMPLATE) ?? '');
    const end = source.startsWith('${', at) ? '${' : '`';
    if (end === '${') braces.push(true);
    // As parentheses, so that what is inside stays one expression with what is around.
    keep(at >= source.length ? '' : end === '${' ? ' (' : ' ');
    at += end.length;
  };
  if (source.startsWith('#!')) blank(take(HASHBANG) ?? '');
  while (at < source.length) {
    const character = source.charAt(at);
    if (character === '/') {
      const comment = take(LINE_COMMENT) ?? take(BLOCK_COMMENT);
      const text = comment ?? (BEFORE_REGEX.test(tail) ? take(REGEX) : undefined);
      if (text !== undefined) blank(text);
      else {
        keep('/');
        at++;
      }
    } else if (character === '"' || character === "'") blank(take(STRING) ?? '');
    else if (character === '`') {
      keep(' ');
      at++;
      template();
    } else if (character === '{' || character === '}') {
      at++;
      const ofTemplate = character === '}' && braces.pop() === true;
      if (character === '{') braces.push(false);
      keep(ofTemplate ? ')' : character);
      if (ofTemplate) template();
    } else keep(take(PLAIN) ?? '');
  }
  return parts.join('');
}
