/**
 * The custom resources: Policy and ClusterPolicy (one document, in one namespace or in all), TrustDomain. Their schemas hold the
 * shape; what criteria mean is for the validating webhook, which is the compiler itself.
 */
export const GROUP = 'postern.dev'
const VERSION = 'v1'

type Schema = Readonly<Record<string, unknown>>

const text = (maxLength: number, more: Schema = {}): Schema => ({ type: 'string', maxLength, ...more })

/**
 * One criterion: a map of one entry, whose value has many forms. CEL cannot look into what has no type, and names such as `claim/role` cannot be
 * listed: what is in it is for the webhook to say.
 */
const criterion: Schema = { type: 'object', minProperties: 1, maxProperties: 1, 'x-kubernetes-preserve-unknown-fields': true }

const criteria: Schema = { type: 'array', minItems: 1, maxItems: 64, items: criterion }

const action = (description: string): Schema => ({
  type: 'object',
  description,
  minProperties: 1,
  properties: { and: criteria, or: criteria, not: criteria, nor: criteria },
})

const limit: Schema = {
  type: 'object',
  description: 'How often callers may make use of it.',
  required: ['requests'],
  properties: {
    requests: text(16, { pattern: '^[1-9][0-9]{0,8}/[smh]$', description: 'As in 100/s.' }),
    burst: { type: 'integer', minimum: 1, maximum: 1_000_000_000 },
    per: { type: 'string', enum: ['peer', 'service_account', 'namespace', 'trust_domain', 'source_ip', 'all'] },
  },
}

/** A map as above, or the word `none`, which takes the policy's limit off a rule: a schema has no type for both, so the webhook checks what is in it. */
const ruleLimit: Schema = {
  description: 'How often callers may make use of it, as in the policy; or none.',
  'x-kubernetes-preserve-unknown-fields': true,
}

const rule: Schema = {
  type: 'object',
  properties: {
    name: text(256),
    allow: action('Allows a request for which its criteria hold; one allow rule must match.'),
    deny: action('Refuses a request for which its criteria hold; deny wins.'),
    limit: ruleLimit,
  },
  'x-kubernetes-validations': [{ rule: 'has(self.allow) || has(self.deny)', message: 'a rule needs `allow` or `deny`' }],
}

const policySpec: Schema = {
  type: 'object',
  required: ['rules'],
  properties: {
    target: {
      type: 'object',
      description: 'Which service, and which of its ports; without it, all.',
      minProperties: 1,
      properties: {
        service: text(253, { pattern: '^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$' }),
        ports: { type: 'array', minItems: 1, maxItems: 64, items: { type: 'integer', minimum: 1, maximum: 65_535 } },
      },
    },
    selector: {
      type: 'object',
      description: 'Labels that a pod must have for the policy to apply.',
      minProperties: 1,
      maxProperties: 32,
      additionalProperties: text(63),
    },
    mode: { type: 'string', enum: ['enforce', 'shadow'], default: 'enforce', description: 'shadow: decided and counted, not enforced.' },
    limit,
    rules: { type: 'array', minItems: 1, maxItems: 1000, items: rule },
  },
}

const status: Schema = {
  type: 'object',
  properties: {
    observedGeneration: { type: 'integer', format: 'int64' },
    sidecars: text(64, { description: 'N of M sidecars run this generation.' }),
    replicas: {
      type: 'object',
      description: 'What each replica of the controller hears of.',
      maxProperties: 32,
      additionalProperties: {
        type: 'object',
        required: ['all', 'running', 'at'],
        properties: {
          all: { type: 'integer', minimum: 0 },
          running: { type: 'integer', minimum: 0 },
          at: { type: 'string', format: 'date-time' },
        },
      },
    },
    conditions: {
      type: 'array',
      maxItems: 8,
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['type'],
      items: {
        type: 'object',
        required: ['type', 'status', 'reason', 'message', 'lastTransitionTime'],
        properties: {
          type: text(316),
          status: { type: 'string', enum: ['True', 'False', 'Unknown'] },
          reason: text(1024, { minLength: 1 }),
          message: text(32_768),
          lastTransitionTime: { type: 'string', format: 'date-time' },
          observedGeneration: { type: 'integer', format: 'int64' },
        },
      },
    },
  },
}

const tests: Schema = { type: 'array', maxItems: 1000, items: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } }

const AGE = { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' }
const POLICY_COLUMNS = [
  { name: 'Mode', type: 'string', jsonPath: '.spec.mode' },
  { name: 'Service', type: 'string', jsonPath: '.spec.target.service' },
  { name: 'Accepted', type: 'string', jsonPath: '.status.conditions[?(@.type=="Accepted")].status' },
  { name: 'Sidecars', type: 'string', jsonPath: '.status.sidecars' },
  AGE,
]

const TRUST_COLUMNS = POLICY_COLUMNS.filter(({ name }) => ['Accepted', 'Sidecars', 'Age'].includes(name))

const trustDomainSpec: Schema = {
  type: 'object',
  description: 'A foreign trust domain, named like the object.',
  properties: {
    bundle: { type: 'object', description: 'Its SPIFFE bundle (JWKS).', 'x-kubernetes-preserve-unknown-fields': true },
  },
  required: ['bundle'],
}

export function customResources(): readonly object[] {
  return [
    definition('Policy', 'policies', 'Namespaced', { spec: policySpec, tests, status }, POLICY_COLUMNS),
    definition('ClusterPolicy', 'clusterpolicies', 'Cluster', { spec: policySpec, tests, status }, POLICY_COLUMNS),
    definition('TrustDomain', 'trustdomains', 'Cluster', { spec: trustDomainSpec, status }, TRUST_COLUMNS),
  ]
}

function definition(
  kind: string,
  plural: string,
  scope: 'Namespaced' | 'Cluster',
  properties: Readonly<Record<string, Schema>>,
  additionalPrinterColumns: readonly object[],
): object {
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${GROUP}` },
    spec: {
      group: GROUP,
      scope,
      names: { kind, plural, singular: kind.toLowerCase(), listKind: `${kind}List`, categories: ['postern'] },
      versions: [
        {
          name: VERSION,
          served: true,
          storage: true,
          subresources: { status: {} },
          additionalPrinterColumns,
          schema: { openAPIV3Schema: { type: 'object', required: ['spec'], properties } },
        },
      ],
    },
  }
}
