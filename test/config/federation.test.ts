import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readYamlDocuments } from '#config/yaml'
import { readSidecarDocument } from '#config/sidecar-document'

function read(federation: string): { messages: string[]; endpoints: readonly unknown[] | undefined } {
  const text = `apiVersion: postern.dev/v1
kind: Sidecar
metadata: { name: a }
spec:
  identity: { files: { certificate: a, key: b, bundle: c } }
  federation: { partner.example: ${federation} }
  inbound: [{ listen: 0.0.0.0:7443, app: 127.0.0.1:1 }]
`
  const [document] = readYamlDocuments(text, 'sidecar.yaml').documents
  assert.ok(document !== undefined)
  const { config, problems } = readSidecarDocument(document, { file: '/etc/postern/sidecar.yaml' })
  return { messages: problems.map(({ message }) => message), endpoints: config?.federationEndpoints }
}

test('F-8, F-10, F-19, F-20: an endpoint says its URL, its profile and, with an SVID, who answers', () => {
  const spiffe = 'profile: https_spiffe, url: "https://h/", spiffeId: spiffe://partner.example/e'
  for (const [federation, message] of [
    ['{ endpoint: { url: "http://h/", profile: https_web } }', /https URL without user/],
    ['{ endpoint: { url: "https://u:p@h/", profile: https_web } }', /https URL without user/],
    ['{ endpoint: { url: "https://h/" } }', /profile/],
    ['{ endpoint: { url: "https://h/", profile: https_spiffe } }', /needs `spiffeId`/],
    [`{ endpoint: { ${spiffe} } }`, /needs `bundle`/],
    [`{ endpoint: { ${spiffe}, bundle: b.pem, ca: c.pem } }`, /belongs to profile https_web/],
    ['{ endpoint: { url: "https://h/", profile: https_web, spiffeId: spiffe://partner.example/e } }', /belongs to profile https_spiffe/],
    ['{ endpoint: { url: "https://h/", profile: https_web }, bundle: b.pem }', /exactly one/],
    ['{}', /must have one of/],
  ] as const) {
    const { messages } = read(federation)
    assert.match(messages.join('\n'), message, federation)
  }
  assert.deepEqual(read('{ endpoint: { url: "https://h/", profile: https_web, ca: c.pem } }').endpoints, [
    { trustDomain: 'partner.example', url: 'https://h/', profile: 'https_web', ca: '/etc/postern/c.pem', bundle: undefined },
  ])
  assert.equal(read(`{ endpoint: { ${spiffe}, bundle: b.pem } }`).endpoints?.length, 1)
  assert.equal(read(`{ endpoint: { ${spiffe.replace('partner.example/e', 'web.example/e')} } }`).endpoints?.length, 1)
})
