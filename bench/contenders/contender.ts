/** What takes part: a proxy that terminates mutual TLS before the upstream. */
import type { ChildProcess } from 'node:child_process'
import type { Certificates } from '../environment/certificates.ts'
import type { Protocol } from '../environment/upstream.ts'
import { cpuSeconds, end, residentMegabytes, tree } from '../environment/processes.ts'

export interface Setup {
  /** A folder of its own. */
  readonly folder: string
  readonly certificates: Certificates
  readonly protocol: Protocol
  readonly upstreamPort: number
}

export interface Contender {
  /** As the tables print it. */
  readonly name: string
  readonly version: string
  /** Resolves when it is ready to serve. */
  start(setup: Setup): Promise<Running>
}

export interface Running extends AsyncDisposable {
  readonly name: string
  /** Where it listens with mutual TLS, on 127.0.0.1. */
  readonly port: number
  readonly child: ChildProcess
  /** Load before it is measured, seconds: for who compiles what is hot while it runs. */
  readonly warmUpSeconds: number
  /** From the start of the process until it was ready, ms. */
  readonly readyMs: number
  /** User and system time so far, all processes and threads. */
  cpuSeconds(): number
  residentMegabytes(): number
}

export function running(name: string, port: number, child: ChildProcess, begun: number, warmUpSeconds = 1): Running {
  const readyMs = performance.now() - begun
  // Looked up each time: nginx takes connections before it has its worker.
  const pids = (): number[] => tree(child.pid ?? 0)
  return {
    name,
    port,
    child,
    warmUpSeconds,
    readyMs,
    cpuSeconds: () => cpuSeconds(pids()),
    residentMegabytes: () => residentMegabytes(pids()),
    [Symbol.asyncDispose]: () => end(child),
  }
}
