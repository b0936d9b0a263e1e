/** Known names are found in any case, and nothing else is taken for one. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { KNOWN_NAMES, knownField } from '#wire/http1/field-names'

const find = (name: string) => {
  const bytes = Buffer.from(`\r\n${name}:`, 'latin1')
  return knownField(bytes, 2, bytes.length - 1)
}

test('every known name is found in any case, as the same string', () => {
  assert.ok(KNOWN_NAMES.length > 80)
  const bits = new Set<number>()
  for (const name of KNOWN_NAMES) {
    const field = find(name)
    assert.equal(field?.name, name)
    for (const spelling of [name.toUpperCase(), name.replace(/(^|-)[a-z]/g, (letter) => letter.toUpperCase())]) {
      assert.equal(find(spelling), field, spelling)
    }
    if (field !== undefined && field.single !== 0) {
      assert.ok(!bits.has(field.single), `${name} shares its bit`)
      bits.add(field.single)
    }
  }
})

test('a name that differs in one character is not taken for a known one', () => {
  for (const name of KNOWN_NAMES) {
    for (let index = 0; index < name.length; index++) {
      for (const other of ['x', '_', '.', '0', '^', '~']) {
        const changed = name.slice(0, index) + other + name.slice(index + 1)
        const found = find(changed)
        assert.ok(found === undefined || found.name === changed, changed)
      }
    }
    assert.equal(find(`${name}x`)?.name === name, false)
    assert.equal(find(`x${name}`)?.name === name, false)
  }
})
