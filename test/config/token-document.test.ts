import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatProblem } from '#base/located'
import { readSidecarDocument } from '#config/sidecar-document'
import { readYamlDocuments } from '#config/yaml'

function read(tokens: string, inbound = '') {
  const { documents } = readYamlDocuments(
    `apiVersion: postern.dev/v1
kind: Sidecar
metadata: { name: catalog, namespace: shop }
spec:
  identity:
    files: { certificate: svid.pem, key: key.pem, bundle: bundle.pem }
  inbound:
    - listen: 0.0.0.0:7443
      app: 127.0.0.1:8080
${inbound}  tokens:
${tokens}`,
    'sidecar.yaml',
  )
  return readSidecarDocument(documents[0]!, { file: '/etc/postern/sidecar.yaml' })
}

test('an issuer gets its defaults, and paths of the folder of the document', () => {
  const { config, problems } = read(`    - issuer: https://kubernetes.default.svc
      audiences: catalog
      kind: serviceAccount
      jwks: { ca: ca.crt, tokenFile: /var/run/token, refresh: 10s }
    - issuer: spiffe://partner.example
      audiences: [catalog, shop]
      kind: jwtSvid
      jwks: { file: partner.json }
      forwardToken: true
`)
  assert.deepEqual(problems.map(formatProblem), [])
  assert.deepEqual(config?.tokens, [
    {
      issuer: 'https://kubernetes.default.svc',
      audiences: ['catalog'],
      kind: 'serviceAccount',
      trustDomain: undefined,
      jwks: { file: undefined, url: undefined, ca: '/etc/postern/ca.crt', tokenFile: '/var/run/token', refresh: 10_000, keep: 43_200_000 },
      review: undefined,
      forwardToken: false,
    },
    {
      issuer: 'spiffe://partner.example',
      audiences: ['catalog', 'shop'],
      kind: 'jwtSvid',
      trustDomain: 'partner.example',
      jwks: { file: '/etc/postern/partner.json', url: undefined, ca: undefined, tokenFile: undefined, refresh: 300_000, keep: 43_200_000 },
      review: undefined,
      forwardToken: true,
    },
  ])
})

test('an issuer may have its tokens reviewed, by the API server of the pod unless said', () => {
  const { config, problems } = read(`    - { issuer: https://kubernetes.default.svc, audiences: catalog, kind: serviceAccount, review: {} }
    - issuer: https://other.example
      audiences: catalog
      kind: serviceAccount
      review: { server: https://api.other.example:6443, token: reviewer.token, ca: other.pem, refresh: 2s, keep: 10s }
`)
  assert.deepEqual(problems.map(formatProblem), [])
  assert.deepEqual(
    config?.tokens.map(({ review }) => review),
    [
      {
        server: 'https://kubernetes.default.svc',
        token: '/var/run/secrets/kubernetes.io/serviceaccount/token',
        ca: '/var/run/secrets/kubernetes.io/serviceaccount/ca.crt',
        refresh: 5_000,
        keep: 60_000,
      },
      {
        server: 'https://api.other.example:6443',
        token: '/etc/postern/reviewer.token',
        ca: '/etc/postern/other.pem',
        refresh: 2_000,
        keep: 10_000,
      },
    ],
  )
})

for (const [review, kind, wrong] of [
  ['{}', 'oidc', /`review` asks Kubernetes/],
  ['{ refresh: 10s, keep: 5s }', 'serviceAccount', /`review\.keep` is shorter than `review\.refresh`/],
  ['{ server: http://api.example }', 'serviceAccount', /must be `https:`/],
  ['{ refresh: 10ms }', 'serviceAccount', /refresh/],
] as const) {
  test(`a review of ${review} for tokens of kind ${kind} is refused`, () => {
    const { problems } = read(`    - { issuer: https://kubernetes.default.svc, audiences: catalog, kind: ${kind}, review: ${review} }\n`)
    assert.equal(problems.length, 1)
    assert.match(formatProblem(problems[0]!), wrong)
  })
}

test('a listener says what it does with other tokens, and whether it signs assertions', () => {
  const { config, problems } = read('    []\n', '      unknownTokens: pass\n      assertion: { audience: catalog, bindRequest: true }\n')
  assert.deepEqual(problems.map(formatProblem), [])
  assert.equal(config?.inbound[0]?.unknownTokens, 'pass')
  assert.deepEqual(config?.inbound[0]?.assertion, { audience: 'catalog', bindRequest: true })
})

const GOOD = 'issuer: https://a.example, audiences: [a], kind: oidc'

const WRONG: readonly (readonly [entry: string, message: RegExp])[] = [
  ['issuer: https://a.example, kind: oidc', /11:7: .*tokens\[0\]\.audiences` is missing.*ERR_CONFIG_MISSING_KEY/],
  ['issuer: https://a.example, audiences: [], kind: oidc', /audiences` must be one or a list/],
  ['issuer: https://a.example, audiences: [a], kind: saml', /kind` must be one of .*ERR_CONFIG_VALUE/],
  ['issuer: "a|b", audiences: [a], kind: oidc', /issuer` must be the `iss`/],
  [`${GOOD}, jwks: { file: a.json, url: "https://a.example/k" }`, /both `file` and `url`/],
  [`${GOOD}, jwks: { file: a.json, ca: ca.pem }`, /for keys that are fetched/],
  [`${GOOD}, jwks: { url: "http://a.example/keys" }`, /it is not https/],
  [`${GOOD}, jwks: { url: "https://169.254.169.254/keys" }`, /link-local/],
  [`${GOOD}, trustDomain: example.org`, /remove `trustDomain`/],
  ['issuer: http://a.example, audiences: [a], kind: oidc', /discovery.*it is not https/],
  ['issuer: accounts, audiences: [a], kind: oidc', /it is not a URL/],
  ['issuer: https://a.example, audiences: [a], kind: jwtSvid', /give the `trustDomain`/],
  ['issuer: "spiffe://a.example", audiences: [a], kind: oidc, jwks: { file: a.json }', /is of kind `jwtSvid`/],
  ['issuer: "spiffe://a.example", audiences: [a], kind: jwtSvid', /has no discovery/],
  ['issuer: "spiffe://a.example/x", audiences: [a], kind: jwtSvid, jwks: { file: a.json }', /the trust domain alone/],
  ['issuer: "spiffe://a.example", audiences: [a], kind: jwtSvid, jwks: { file: a.json }, trustDomain: b.example', /another than/],
]

for (const [entry, message] of WRONG) {
  test(`refused: { ${entry} }`, () => {
    const { config, problems } = read(`    - { ${entry} }\n`)
    assert.equal(config, undefined)
    assert.equal(problems.length, 1, problems.map(formatProblem).join('\n'))
    assert.match(formatProblem(problems[0]!), message)
  })
}

test('an issuer has one entry', () => {
  const { problems } = read(`    - { ${GOOD} }\n    - { ${GOOD} }\n`)
  assert.match(problems.map(formatProblem).join('\n'), /12:7: .*tokens\[1\]` is of an issuer that has an entry already.*ERR_CONFIG_VALUE/)
})
