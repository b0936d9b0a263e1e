/** What a sidecar on this host has that attests itself to an authority by the join token in a file. */
import { systemClock } from '#base/clock'
import { createCaSvidSource } from '#svid-source/ca'
import { silentLog } from '#telemetry/log'

export function joinedSource(port: number, bundle: string, file: string): ReturnType<typeof createCaSvidSource> {
  return createCaSvidSource({
    ca: {
      kind: 'ca',
      address: { kind: 'tcp', host: '127.0.0.1', port },
      trustDomain: undefined,
      bundle,
      attest: { method: 'joinToken', file },
      cache: undefined,
    },
    federation: [],
    clock: systemClock,
    log: silentLog,
    random: Math.random,
  })
}
