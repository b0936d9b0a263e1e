/** Policies and requests for tests: documents from YAML text or plain values, facts from the few words a test is about. */
import assert from 'node:assert/strict'
import { formatProblem, type LocatedValue, type Problem } from '#base/located'
import { readYamlDocuments } from '#config/yaml'
import type { Peer, TokenPrincipal } from '#identity/peer'
import { parseSpiffeId } from '#identity/spiffe-id'
import { type CompiledPolicy, createPolicyCompiler } from '#policy/compile'
import { decide } from '#policy/decide'
import type { Decision } from '#policy/decision'
import type { PolicyDocument, PolicyScope } from '#policy/document'
import { explain } from '#policy/explain'
import type { RequestFacts } from '#policy/facts'
import { readPolicyDocument } from '#policy/read-document'

export const SCOPE: PolicyScope = { service: 'catalog', labels: { app: 'catalog', tier: 'back' }, ports: [8080] }

/** 2026-06-15T12:00:00Z, a Monday. */
export const NOON = Date.UTC(2026, 5, 15, 12)

/** What reading every document of a text yields. */
export function readPolicies(text: string, file = 'policy.yaml'): { documents: PolicyDocument[]; problems: Problem[] } {
  const yaml = readYamlDocuments(text, file)
  const readings = yaml.documents.map((value) => readPolicyDocument(value, { defaultName: 'policy' }))
  return {
    documents: readings.map(({ document }) => document).filter((document) => document !== undefined),
    problems: [...yaml.problems, ...readings.flatMap(({ problems }) => problems)],
  }
}

/** The documents of a text that has no problems. */
export function policies(text: string, file?: string): PolicyDocument[] {
  const { documents, problems } = readPolicies(text, file)
  assert.deepEqual(problems.map(formatProblem), [])
  return documents
}

/** As they arrive on the data thread. */
export function compile(documents: readonly PolicyDocument[], scope = SCOPE): CompiledPolicy {
  const compiler = createPolicyCompiler(scope)
  for (const document of documents) compiler.add(structuredClone(document))
  return compiler.finish(7)
}

/** Decides both ways and holds that they agree. */
export function decideBothWays(documents: readonly PolicyDocument[], facts: RequestFacts, now = NOON, scope = SCOPE): Decision {
  const decision = decide(compile(documents, scope), facts, now)
  const explained = explain(documents, scope, facts, now).decision
  assert.deepEqual({ ...explained, validUntil: 0, generation: 0 }, { ...decision, validUntil: 0, generation: 0 })
  assert.ok(decision.validUntil > now)
  return decision
}

export function peer(uri: string, certificate: Partial<Peer['certificate']> = {}): Peer {
  const id = parseSpiffeId(uri)
  assert.ok(id.ok, uri)
  return {
    id: id.value,
    certificate: {
      fingerprint: 'ab'.repeat(32),
      spkiHash: `${'A'.repeat(43)}=`,
      serial: '1',
      notBefore: 0,
      notAfter: Number.MAX_SAFE_INTEGER,
      sanUris: [uri],
      sanDns: [],
      sanEmails: [],
      ...certificate,
    },
    authorities: [],
  }
}

export const CART = peer('spiffe://example.org/ns/shop/sa/cart')

export function token(claims: Readonly<Record<string, unknown>> = {}, rest: Partial<TokenPrincipal> = {}): TokenPrincipal {
  const all: Record<string, unknown> = Object.assign(Object.create(null), { iss: 'https://issuer.example', sub: 'alice', ...claims })
  const { iss, sub } = all
  return {
    issuer: String(iss),
    subject: typeof sub === 'string' ? sub : '',
    audiences: [],
    namespace: undefined,
    serviceAccount: undefined,
    claims: all,
    expiresAt: Number.MAX_SAFE_INTEGER,
    ...rest,
  }
}

/** `headers` as pairs. */
export interface FactsOf extends Partial<Omit<RequestFacts, 'headers'>> {
  readonly headers?: readonly (readonly [string, string])[]
}

export function request({ headers = [], ...rest }: FactsOf = {}): RequestFacts {
  return {
    protocol: 'http',
    peer: CART,
    token: undefined,
    method: 'GET',
    path: '/',
    query: undefined,
    host: 'catalog.shop',
    headers: { names: headers.map(([name]) => name), values: headers.map(([, value]) => value) },
    sourceIp: '10.1.2.3',
    port: 8080,
    ...rest,
  }
}

/** A plain value as a document would hold it, every part at line 1 of `file`. */
export function located(value: unknown, file = 'policy.yaml'): LocatedValue {
  const at = { file, line: 1, column: 1 }
  if (Array.isArray(value)) return { kind: 'list', items: value.map((item) => located(item, file)), at }
  if (typeof value !== 'object' || value === null) return { kind: 'scalar', value: value as string | number | boolean | null, at }
  return { kind: 'map', entries: Object.entries(value).map(([key, item]) => ({ key, keyAt: at, value: located(item, file) })), at }
}
