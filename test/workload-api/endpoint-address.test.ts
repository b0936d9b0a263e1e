/** `SPIFFE_ENDPOINT_SOCKET` (SPIFFE_Workload_Endpoint §4). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Address } from '#base/units'
import { parseEndpointAddress } from '#workload-api/endpoint-address'

const GOOD: readonly (readonly [string, Address])[] = [
  ['unix:/run/agent.sock', { kind: 'unix', path: '/run/agent.sock' }],
  ['unix:///run/agent.sock', { kind: 'unix', path: '/run/agent.sock' }],
  ['UNIX:///run/a%20b.sock', { kind: 'unix', path: '/run/a b.sock' }],
  ['tcp://127.0.0.1:8000', { kind: 'tcp', host: '127.0.0.1', port: 8000 }],
  ['tcp://[::1]:8000', { kind: 'tcp', host: '::1', port: 8000 }],
]
for (const [text, address] of GOOD) {
  test(`E-9, E-10, E-11: ${text} is taken`, () => assert.deepEqual(parseEndpointAddress(text), address))
}

const BAD: readonly (readonly [string, string, RegExp])[] = [
  ['E-9', '/run/agent.sock', /is not a URI/],
  ['E-9', 'http://127.0.0.1:8000', /neither `unix` nor `tcp`/],
  ['E-10', 'unix://run/agent.sock', /authority between/],
  ['E-10', 'unix:agent.sock', /not absolute/],
  ['E-10', 'unix:', /not absolute/],
  ['E-10', 'unix:///', /not absolute/],
  ['E-10', 'unix:////run', /authority between/],
  ['E-10', 'unix:///run/agent.sock?a=b', /query or a fragment/],
  ['E-10', 'unix:///run/agent.sock#a', /query or a fragment/],
  ['E-10', 'unix:///run/%zz', /begins no escape/],
  ['E-10', 'unix:///run/a%00b', /NUL/],
  ['E-11', 'tcp://1.2.3.4:8000/foo', /nothing else/],
  ['E-11', 'tcp://localhost:8000', /IP address/],
  ['E-11', 'tcp://127.0.0.1', /a port/],
  ['E-11', 'tcp://127.0.0.1:0', /a port/],
  ['E-11', 'tcp://127.0.0.1:70000', /a port/],
  ['E-11', 'tcp:127.0.0.1:8000', /IP address/],
  ['E-11', 'tcp://user@127.0.0.1:8000', /IP address/],
  ['E-3', 'tcp://10.0.0.1:8000', /not loopback/],
]
for (const [row, text, why] of BAD) {
  test(`${row}: ${text} is refused`, () => {
    assert.throws(() => parseEndpointAddress(text), { code: 'ERR_WORKLOAD_API_ENDPOINT', message: why })
  })
}
