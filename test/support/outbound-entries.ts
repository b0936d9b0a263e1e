/** YAML of an entry of `outbound` on a port of its own, for `runSidecar`. */
export function outboundTo(ports: readonly number[], path: string, more = ''): string {
  const to = ports.map((port) => `'127.0.0.1:${port}'`).join(', ')
  return `    - listen: 127.0.0.1:0\n      to: [${to}]\n      peer: spiffe://example.org${path}\n${more}`
}
