/** Matchers as closures over the text they test. */
import type { ListMatcher, StringMatcher, StringTest } from './document.ts'
import { compilePattern } from './path-pattern.ts'

export type TextTest = (text: string) => boolean

/** From this many on, a set is quicker than a walk. */
const SET_FROM = 8

/** A test of one value. @param spell turns literals into the form that values have */
export function compileText(matcher: StringMatcher, spell: (text: string) => string = (text) => text): TextTest {
  const tests = matcher.map((test) => compileTest(test, spell))
  const [first, second] = tests
  if (first === undefined) return () => true
  if (second === undefined) return first
  return (text) => tests.every((test) => test(text))
}

function compileTest(test: StringTest, spell: (text: string) => string): TextTest {
  switch (test.test) {
    case 'is': {
      const literal = spell(test.text)
      return (text) => text === literal
    }
    case 'starts_with': {
      const literal = spell(test.text)
      return (text) => text.startsWith(literal)
    }
    case 'ends_with': {
      const literal = spell(test.text)
      return (text) => text.endsWith(literal)
    }
    case 'contains': {
      const literal = spell(test.text)
      return (text) => text.includes(literal)
    }
    case 'in':
      return isOneOf(test.texts.map(spell))
    case 'not_in': {
      const inside = isOneOf(test.texts.map(spell))
      return (text) => !inside(text)
    }
    case 'not': {
      const inside = compileText(test.matcher, spell)
      return (text) => !inside(text)
    }
    default:
      return compilePattern(test.pattern)
  }
}

function isOneOf(texts: readonly string[]): TextTest {
  if (texts.length >= SET_FROM) {
    const set = new Set(texts)
    return (text) => set.has(text)
  }
  return (text) => texts.includes(text)
}

/** A test of all values of a fact that is there. */
export type ValuesTest = (values: readonly string[]) => boolean

/** The positive tests must all hold of one value; the negative ones must hold of every value. */
export function compileTexts(matcher: StringMatcher, spell?: (text: string) => string): ValuesTest {
  const negative = matcher.filter(({ test }) => test === 'not' || test === 'not_in')
  const positive = matcher.filter(({ test }) => test !== 'not' && test !== 'not_in')
  const passes = compileText(negative, spell)
  const hits = compileText(positive, spell)
  if (positive.length === 0) return (values) => values.every(passes)
  if (negative.length === 0) return (values) => values.some(hits)
  return (values) => values.some(hits) && values.every(passes)
}

/** A test of the elements of a list that is there. */
export function compileList(matcher: ListMatcher): (elements: readonly unknown[]) => boolean {
  return (elements) => {
    for (const { test, value } of matcher) {
      const has = elements.includes(value)
      if (test === 'exclude' ? has : !has || (test === 'is' && elements.length !== 1)) return false
    }
    return true
  }
}
