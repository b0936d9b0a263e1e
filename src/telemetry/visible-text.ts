/** Text of strangers for a terminal: what could begin a line, move the cursor, colour text or turn its direction is written out. */

const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g

/** `\u001b` for an escape, and so on. */
export function visibleText(text: string): string {
  return text.replace(CONTROLS, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
