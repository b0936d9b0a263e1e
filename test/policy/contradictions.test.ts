import assert from 'node:assert/strict'
import { test } from 'node:test'
import { contradiction } from '#policy/contradictions'
import { conjunctionsOf } from '#policy/entry'
import { readPolicyDocument } from '#policy/read-document'
import { located } from '../support/policies.ts'

const BATCH = { spiffe_id: 'spiffe://example.org/legacy/batch' }
const CART = { spiffe_id: 'spiffe://example.org/ns/shop/sa/cart' }

const RULES: readonly (readonly [string, object, boolean])[] = [
  ['a caller without a service account is not of a given one', { and: [BATCH], not: [{ service_account: 'a' }] }, false],
  ['and is none that is asked for', { and: [BATCH, { service_account: 'a' }] }, true],
  ['one that has another is not of the given one', { and: [CART], not: [{ service_account: 'a' }] }, false],
  ['nobody is of two', { and: [CART, { service_account: 'a' }] }, true],
]

test('what is denied of a name can hold of who has no such name', () => {
  for (const [title, operators, expected] of RULES) {
    // Several operators of one rule must all hold: as one conjunction, they are read together.
    const { document } = readPolicyDocument(located([{ allow: operators }]), { defaultName: 'p' })
    const literals = (document?.rules ?? []).flatMap((rule) => conjunctionsOf(rule).flat())
    assert.ok(literals.length > 0, title)
    assert.equal(contradiction(literals, 0) !== undefined, expected, title)
  }
})
