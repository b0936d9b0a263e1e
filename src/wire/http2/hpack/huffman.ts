/** The Huffman code of HPACK, decoded by table four bits at a time (RFC 7541 §5.2, Appendix B). */

/**
 * Length in bits of each symbol's code, 256 being EOS. The code is canonical: codes of one length are consecutive in the order
 * of their symbols, and a longer code continues where the shorter ended; so lengths say all.
 */
export const HUFFMAN_LENGTHS = Uint8Array.from(
  (
    '13 23 28 28 28 28 28 28 28 24 30 28 28 30 28 28 28 28 28 28 28 28 30 28 28 28 28 28 28 28 28 28 ' +
    '6 10 10 12 13 6 8 11 10 10 8 11 8 6 6 6 5 5 5 6 6 6 6 6 6 6 7 8 15 6 12 10 ' +
    '13 6 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 8 7 8 13 19 13 14 6 ' +
    '15 5 6 5 6 5 6 6 6 5 7 7 6 6 6 5 6 7 6 5 5 6 7 7 7 7 7 15 11 14 13 28 ' +
    '20 22 20 20 22 22 22 23 22 23 23 23 23 23 24 23 24 24 22 23 24 23 23 23 23 21 22 23 22 23 23 24 ' +
    '22 21 20 22 22 23 23 21 23 22 22 24 21 22 23 23 21 21 22 21 23 22 23 23 20 22 22 22 23 22 22 23 ' +
    '26 26 20 19 22 23 22 25 26 26 26 27 27 26 24 25 19 21 26 27 27 26 27 24 21 21 26 26 28 27 27 27 ' +
    '20 24 20 21 22 21 21 23 22 22 25 25 24 24 26 23 26 27 26 26 27 27 27 27 27 28 27 27 27 27 27 26 ' +
    '30'
  ).split(' '),
  Number,
)

const EOS = 256
const LEAF = 1 << 16

/** What four bits do in a state, as a number: the next state in bits 0 to 7, a symbol in 8 to 15, and what to do with it above. */
const EMIT = 1 << 16
const FAIL = 1 << 17

/** A decoded string has at most this many bytes for each byte of code: the shortest code has 5 bits. */
export const HUFFMAN_GROWTH = 8 / 5

interface Tables {
  readonly transitions: Int32Array
  readonly endings: Uint8Array
}

/** Made when the first code is read: built at import, they would cost every start, HTTP/2 or not, V8's compilers and 5 MB. */
let tables: Tables | undefined

/**
 * Decodes into `into` from `at` on, which must have room for `HUFFMAN_GROWTH` times the code.
 * @returns where the decoded bytes end; -1 if the code holds EOS, or padding that is not all ones and shorter than a byte
 */
export function decodeHuffman(bytes: Uint8Array, start: number, end: number, into: Uint8Array, at: number): number {
  tables ??= buildTables()
  const { transitions, endings } = tables
  let state = 0
  let position = at
  for (let index = start; index < end; index++) {
    const byte = bytes[index] as number
    let step = transitions[(state << 4) | (byte >>> 4)] as number
    if (step >= EMIT) {
      if (step >= FAIL) return -1
      into[position++] = (step >>> 8) & 0xff
    }
    step = transitions[((step & 0xff) << 4) | (byte & 0xf)] as number
    if (step >= EMIT) {
      if (step >= FAIL) return -1
      into[position++] = (step >>> 8) & 0xff
    }
    state = step & 0xff
  }
  return endings[state] === 1 ? position : -1
}

/** States are the inner nodes of the code's tree, the root being 0. There are exactly 256: one fewer than symbols. */
function buildTables(): Tables {
  const children = buildTree()
  const transitions = new Int32Array(256 * 16)
  for (let state = 0; state < 256; state++) {
    for (let nibble = 0; nibble < 16; nibble++) transitions[(state << 4) | nibble] = walk(children, state, nibble)
  }
  // Padding is a prefix of EOS, which is all ones: allowed to end in are the root and seven ones below it.
  const endings = new Uint8Array(256)
  for (let state = 0, depth = 0; depth < 8; depth++) {
    endings[state] = 1
    state = children[2 * state + 1] as number
  }
  return { transitions, endings }
}

function walk(children: Int32Array, from: number, nibble: number): number {
  let state = from
  let emitted = 0
  for (let bit = 3; bit >= 0; bit--) {
    const child = children[2 * state + ((nibble >>> bit) & 1)] as number
    if (child < LEAF) {
      state = child
      continue
    }
    const symbol = child - LEAF
    if (symbol === EOS) return FAIL
    emitted = EMIT | (symbol << 8)
    state = 0
  }
  return emitted | state
}

/** Two children a node: another node's number, or LEAF plus a symbol. */
function buildTree(): Int32Array {
  const children = new Int32Array(512).fill(-1)
  let nodes = 1
  let code = 0
  for (let length = 1; length <= 30; length++) {
    code <<= 1
    for (let symbol = 0; symbol <= EOS; symbol++) {
      if (HUFFMAN_LENGTHS[symbol] !== length) continue
      let node = 0
      for (let bit = length - 1; bit > 0; bit--) {
        const edge = 2 * node + ((code >>> bit) & 1)
        if (children[edge] === -1) children[edge] = nodes++
        node = children[edge] as number
      }
      children[2 * node + (code & 1)] = LEAF + symbol
      code++
    }
  }
  return children
}
