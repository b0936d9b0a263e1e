/** Cuts a stream of bytes into HTTP/2 frames, however it arrives. */
import { type Frame, TYPES } from './http2-frames.ts'

const NAMES = new Map<number, keyof typeof TYPES>(Object.entries(TYPES).map(([name, type]) => [type, name as keyof typeof TYPES]))

export function createFrameCutter(onFrame: (frame: Frame) => void): (bytes: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0)
  return (bytes) => {
    rest = rest.length === 0 ? bytes : Buffer.concat([rest, bytes])
    let at = 0
    while (rest.length - at >= 9) {
      const end = at + 9 + rest.readUIntBE(at, 3)
      if (rest.length < end) break
      const type = rest[at + 3]!
      onFrame({
        type: NAMES.get(type) ?? type,
        flags: rest[at + 4]!,
        stream: rest.readUInt32BE(at + 5) & 0x7fff_ffff,
        payload: Buffer.from(rest.subarray(at + 9, end)),
      })
      at = end
    }
    rest = rest.subarray(at)
  }
}
