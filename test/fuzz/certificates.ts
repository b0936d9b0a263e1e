/**
 * Certificates, keys, bundles and SPIFFE IDs with octets changed, lost, doubled and put in. Readers answer, or throw what they document; and no
 * chain that differs in an octet from one that was issued makes a peer, alone or federated.
 */
import { hash } from 'node:crypto'
import { PosternError } from '#base/errors'
import { parseSpiffeId } from '#identity/spiffe-id'
import { readBundle } from '#pki/bundle'
import { bundleDocument } from '#pki/bundle-document'
import { enter, hasMore, isMalformed, nextTag, openDer, skip } from '#pki/der'
import { readLeafFacts } from '#pki/leaf-facts'
import { verifyChain } from '#pki/path-verdict'
import { formatPem } from '#pki/pem'
import { readWorkloadIdentity } from '#pki/workload-identity'
import { createTestMesh } from '../support/authority.ts'
import { trustIn } from '../support/trust.ts'

type Random = () => number

/** Inputs are tried in turns of this many, so that the clock is asked seldom. */
const TURN = 50

const JSON_PIECES = [
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  '""',
  '"keys"',
  '"use"',
  '"kty"',
  '"x5c"',
  '"x509-svid"',
  '"jwt-svid"',
  'null',
  '1e999',
  '-1',
  '"d"',
  '"\\u0000"',
]

export async function fuzz(seconds: number, seed: number): Promise<{ readonly runs: number }> {
  const random = createRandom(seed)
  const mesh = await createTestMesh('a.example')
  const partner = await createTestMesh('b.example')
  const svids = [
    await mesh.issue('/ns/shop/sa/cart'),
    await mesh.issue('/x', { emptySubject: true }),
    await mesh.issue('/rsa', { keyAlgorithm: 'RSA-2048', dnsNames: ['a.b'] }),
  ]
  const trusts = [trustIn([mesh]), trustIn([mesh, partner])]
  const now = Date.now()
  const document = bundleDocument({
    authorities: [mesh.root.certificate],
    jwtKeys: [{ kty: 'EC', kid: 'k', crv: 'P-256', x: 'a', y: 'b' }],
    sequence: 7n,
    refreshHint: 60,
  })
  for (const { chain } of svids) {
    for (const trust of trusts)
      if (!verifyChain(chain, trust, now, 'client').ok) throw new Error('the right chains are not accepted: nothing would be shown')
  }

  const tries: readonly (() => void)[] = [
    function chains() {
      const { chain } = pick(random, svids)
      const index = Math.floor(random() * chain.length)
      const original = chain[index] ?? Buffer.alloc(0)
      const changed = mutate(random, original)
      if (changed.equals(original)) return
      const sent = chain.with(index, changed)
      for (const trust of trusts) {
        const verdict = verifyChain(sent, trust, now, 'client')
        if (verdict.ok) throw new Error(`a changed chain was accepted: ${sent.map((der) => der.toString('hex')).join(' ')}`)
      }
    },
    function facts() {
      const changed = mutate(random, pick(random, svids).certificate)
      attempt(changed, () => {
        const read = readLeafFacts(changed)
        if (read.ok && read.value.certificate.fingerprint !== hash('sha256', changed, 'hex'))
          throw new Error('the facts are of another certificate')
      })
    },
    function elements() {
      const changed = mutate(random, pick(random, svids).certificate)
      attempt(changed, () => walk(changed))
    },
    function pemBundles() {
      const text = mutate(random, Buffer.from(mesh.bundlePem + partner.bundlePem)).toString('latin1')
      attempt(text, () => readBundle(text, 'a.example', 'fuzz'))
    },
    function derInPemBundles() {
      const text = formatPem('CERTIFICATE', mutate(random, mesh.root.certificate))
      const original = text === mesh.bundlePem
      attempt(text, () => {
        readBundle(text, 'a.example', 'fuzz')
        if (!original) throw new Error('a changed root was accepted')
      })
    },
    function spiffeBundles() {
      const text =
        random() < 0.5 ? mutate(random, Buffer.from(document)).toString('latin1') : splice(random, document, pick(random, JSON_PIECES))
      attempt(text, () => {
        const bundle = readBundle(text, 'a.example', 'fuzz')
        if (bundle.roots.length === 0) throw new Error('a bundle without roots was accepted')
      })
    },
    function identities() {
      const { certificatePem, keyPem } = pick(random, svids)
      const files =
        random() < 0.5
          ? { certificatePem: mutate(random, Buffer.from(certificatePem)).toString('latin1'), keyPem }
          : { certificatePem, keyPem: mutate(random, Buffer.from(keyPem)).toString('latin1') }
      attempt(files.certificatePem + files.keyPem, () => readWorkloadIdentity(files))
    },
    function ids() {
      const text = mutate(random, Buffer.from('spiffe://example.org/ns/shop/sa/cart')).toString('latin1')
      attempt(text, () => {
        const id = parseSpiffeId(text)
        if (id.ok && !/^spiffe:\/\/[a-z0-9._-]+(\/(?!\.\.?(\/|$))[A-Za-z0-9._-]+)*$/.test(text)) throw new Error('it is no SPIFFE ID')
        if (id.ok && `spiffe://${id.value.trustDomain}${id.value.path}` !== text) throw new Error('it was taken apart wrongly')
      })
    },
  ]

  let runs = 0
  const end = performance.now() + seconds * 1000
  do {
    for (let index = 0; index < TURN; index++) pick(random, tries)()
    runs += TURN
  } while (performance.now() < end)
  return { runs }
}

/** Anything but a documented error is a finding, and its message holds the input. */
function attempt(input: Buffer | string, run: () => unknown): void {
  try {
    run()
  } catch (cause) {
    if (cause instanceof PosternError) return
    throw new Error(`${String(cause)} for ${typeof input === 'string' ? JSON.stringify(input) : input.toString('hex')}`, { cause })
  }
}

/** Goes through everything that says it is constructed. */
function walk(bytes: Buffer): void {
  const open = [openDer(bytes)]
  let steps = 0
  for (let cursor = open.pop(); cursor !== undefined; cursor = open.pop()) {
    while (hasMore(cursor)) {
      if (++steps > 2 * bytes.length) throw new Error('the reader does not come forward')
      const tag = nextTag(cursor)
      if ((tag & 0x20) === 0) skip(cursor)
      else open.push(enter(cursor, tag))
    }
    if (!isMalformed(cursor) && cursor.at > bytes.length) throw new Error('the reader went past the end')
  }
}

/** One to four changes: an octet or bit flipped, a stretch lost, doubled or put in from elsewhere. */
function mutate(random: Random, original: Buffer): Buffer {
  let bytes = Buffer.from(original)
  const changes = 1 + Math.floor(random() ** 2 * 4)
  for (let change = 0; change < changes; change++) {
    const at = Math.floor(random() * bytes.length)
    const until = Math.min(bytes.length, at + 1 + Math.floor(random() ** 3 * 64))
    const kind = random()
    if (kind < 0.4) bytes[at] = (bytes[at] ?? 0) ^ (1 << Math.floor(random() * 8))
    else if (kind < 0.6) bytes[at] = Math.floor(random() * 256)
    else if (kind < 0.75) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(until)])
    else if (kind < 0.9) bytes = Buffer.concat([bytes.subarray(0, until), bytes.subarray(at)])
    else {
      const from = Math.floor(random() * original.length)
      bytes = Buffer.concat([bytes.subarray(0, at), original.subarray(from, from + until - at), bytes.subarray(until)])
    }
  }
  return bytes
}

function splice(random: Random, text: string, piece: string): string {
  const at = Math.floor(random() * text.length)
  return text.slice(0, at) + piece + text.slice(at + Math.floor(random() * 8))
}

function pick<T>(random: Random, list: readonly T[]): T {
  return list[Math.floor(random() * list.length)] as T
}

/** [0, 1), xorshift32: the same inputs in the same order for the same seed. */
function createRandom(seed: number): Random {
  let state = seed | 0 || 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}
