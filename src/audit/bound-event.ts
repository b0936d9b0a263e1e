/** Cuts what a caller sent to a size, for decisions that are kept in memory. */
import type { HeaderList } from '#http/header-list'
import type { ExchangeEvent, HandshakeEvent } from './event.ts'

/** Stands for a header's value that was not kept. */
export const NOT_KEPT = '(not kept)'
const ENTRY_COST = 16

/** Characters of the caller's choosing in an event, counted cheaply. */
export function requestSize({ method, host, path, detail, facts }: ExchangeEvent): number {
  let size = method.length + host.length + path.length + detail.length
  if (facts === undefined) return size
  size += facts.query?.length ?? 0
  if (facts.headers !== undefined) size += headerSize(facts.headers)
  return size
}

function headerSize({ names, values }: HeaderList): number {
  let size = names.length * ENTRY_COST
  for (let index = 0; index < values.length; index++) size += (names[index] as string).length + (values[index] as string).length
  return size
}

/** A copy of at most `limit` characters: headers that fit, in order, the others by name as long as names fit. */
export function boundEvent(event: ExchangeEvent, limit: number): ExchangeEvent {
  const share = limit >> 3
  const method = copy(event.method, 64)
  const host = copy(event.host, 256)
  const path = copy(event.path, share * 2)
  const detail = copy(event.detail, share)
  const { facts } = event
  if (facts === undefined) return { ...event, method, host, path, detail }
  const query = facts.query === undefined ? undefined : copy(facts.query, share)
  const headers = facts.headers === undefined ? undefined : boundHeaders(facts.headers, share * 4)
  return { ...event, method, host, path, detail, facts: { ...facts, method, host, path, query, headers } }
}

function boundHeaders({ names, values }: HeaderList, limit: number): HeaderList {
  const kept: HeaderList = { names: [], values: [] }
  let room = limit
  names.forEach((name, index) => {
    const value = values[index] ?? ''
    const bare = ENTRY_COST + name.length + NOT_KEPT.length
    if (room < bare) return
    const whole = ENTRY_COST + name.length + value.length
    const fits = whole <= room
    kept.names.push(copy(name, name.length))
    kept.values.push(fits ? copy(value, value.length) : NOT_KEPT)
    room -= fits ? whole : bare
  })
  return kept
}

/** A copy of what a record of it would show; certificates may name a lot. */
export function boundHandshake(event: HandshakeEvent): HandshakeEvent {
  const { presented } = event
  return {
    ...event,
    detail: copy(event.detail, 512),
    presented: presented && { ...presented, id: copy(presented.id, 2048), serial: copy(presented.serial, 256) },
  }
}

/** A string of its own: a slice would keep alive the whole head that it was cut from. */
function copy(text: string, longest: number): string {
  return Buffer.from(text.slice(0, longest), 'utf16le').toString('utf16le')
}
