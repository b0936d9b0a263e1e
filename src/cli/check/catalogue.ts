/** Every check of the doctor: what holds when it passes, and what to do when it does not. `docs/checks.md` has a section for each. */

export interface CheckText {
  readonly category: string
  /** What holds if it passes. */
  readonly title: string
  /** What to do if it does not. */
  readonly hint: string
}

/** In the order in which they run. The key is the anchor in docs/checks.md. */
export const CHECKS = {
  'node-version': {
    category: 'runtime',
    title: 'Node is a version that Postern is made for',
    hint: 'Install Node 26 or later; `node --version` says which one runs.',
  },
  'document-valid': {
    category: 'configuration',
    title: 'the document is valid',
    hint: 'Mend each line named; docs/configuration.md describes every key.',
  },
  'key-exchange-groups': {
    category: 'configuration',
    title: 'OpenSSL has the key exchange groups',
    hint: 'Use the Node that Postern ships with, or remove the groups it does not have from `spec.tls.groups`.',
  },
  'policies-valid': {
    category: 'policies',
    title: 'the policies are valid',
    hint: 'Mend each line named; docs/policy.md describes every criterion.',
  },
  'policies-sound': {
    category: 'policies',
    title: 'the policies hold nothing suspicious',
    hint: 'Look at each line named: it is well-formed and probably not what was meant.',
  },
  'policies-allow': {
    category: 'policies',
    title: 'every inbound listener has a policy that can allow something',
    hint: 'Add a policy with an allow rule under `spec.policies`, or check `target`, `selector` and `mode` of those you have.',
  },
  'identity-files': {
    category: 'identity',
    title: 'certificate, key and bundle can be read',
    hint: 'Write the files, or mend their paths under `spec.identity.files` and `spec.federation`; Postern runs as the user you see with `id`.',
  },
  'key-mode': {
    category: 'identity',
    title: 'the private key is for its owner alone',
    hint: 'Run `chmod 600` on it; on Kubernetes set `defaultMode: 0400` for the volume.',
  },
  'svid-rules': {
    category: 'identity',
    title: 'the certificate is an X509-SVID',
    hint: 'Look at it with `postern certs inspect FILE`, and issue one that keeps to the rule named.',
  },
  'key-matches': {
    category: 'identity',
    title: 'certificate and key belong together',
    hint: 'Issue both anew, and write the key before the certificate.',
  },
  'bundles-valid': {
    category: 'identity',
    title: 'the trust bundles are valid',
    hint: 'Fetch the bundle named again from its trust domain, as PEM or as a SPIFFE bundle.',
  },
  'clock-skew': {
    category: 'identity',
    title: 'the certificate is valid already',
    hint: 'Compare the clocks of this host and of the issuer, and have both keep time by NTP.',
  },
  'certificate-expiry': {
    category: 'identity',
    title: 'the certificate has time left',
    hint: 'Find out why it was not renewed, and renew it; a sidecar takes the new files by itself.',
  },
  'certificate-chain': {
    category: 'identity',
    title: 'the certificate leads to the bundle',
    hint: 'Give the bundle of the authority that issued it, and the intermediates in the certificate’s own file, after the leaf.',
  },
  'bundle-expiry': {
    category: 'identity',
    title: 'the authorities in the bundles have time left',
    hint: 'Begin a rotation of the authority now: publish the next one in the bundle long before the old one ends.',
  },
  'identity-cache': {
    category: 'identity',
    title: 'the identity kept on disk can be used',
    hint: 'Give the folder under `spec.identity.ca.cache` to the sidecar’s user alone; what is in it is written anew at the next renewal.',
  },
  'ca-attestation': {
    category: 'identity',
    title: 'there is a token to show the authority',
    hint: 'Write it to the file named under `spec.identity.ca.attest`: a join token comes from `postern ca token`, the others from the platform.',
  },
  'ca-reachable': {
    category: 'identity',
    title: 'the certificate authority answers, and proves to be it',
    hint: 'See that it runs and that `spec.identity.ca.address` leads to it; if it is not who is expected, fetch its bundle anew.',
  },
  'ca-clock': {
    category: 'identity',
    title: 'the clocks of this host and of the authority agree',
    hint: 'Have both keep time by NTP: certificates begin and end by the authority’s clock.',
  },
  'ca-renewal': {
    category: 'identity',
    title: 'the sidecar renews its certificate',
    hint: 'Mend what the last error says before the certificate ends; the sidecar tries again by itself, and SIGHUP makes it try at once.',
  },
  'workload-api-answers': {
    category: 'identity',
    title: 'the Workload API answers, and knows this workload',
    hint: 'See that its agent runs, that this user may open its socket, and that the workload is registered there; run the check as the sidecar’s user.',
  },
  'workload-api-identity': {
    category: 'identity',
    title: 'the Workload API offers the identity that is wanted, which peers would take',
    hint: 'Name one of those that are offered under `spec.identity.workloadApi`, or mend what the detail says at the agent or its server.',
  },
  'admin-answers': {
    category: 'sidecar',
    title: 'the sidecar answers on its admin address',
    hint: 'Run `postern check` as the user that the sidecar runs as, beside it; start the sidecar if it does not run.',
  },
  'listen-addresses': {
    category: 'sidecar',
    title: 'the sidecar can listen on its addresses, or does',
    hint: 'Stop what else listens there, or choose another address; ports below 1024 need privileges.',
  },
  'newest-in-force': {
    category: 'sidecar',
    title: 'the sidecar runs the newest configuration',
    hint: 'Mend what the sidecar refused; restart it where a change waits for that.',
  },
  'health-answers': {
    category: 'sidecar',
    title: 'the sidecar is ready',
    hint: 'Ask `/readyz?verbose` on the health address for each of its own checks.',
  },
  'app-answers': {
    category: 'app',
    title: 'the app takes connections',
    hint: 'Start the app, and have it listen on the address in `inbound[].app`.',
  },
  'app-bypass': {
    category: 'app',
    title: 'the app cannot be reached around the sidecar',
    hint: 'Have the app listen on 127.0.0.1 only: whoever reaches it elsewhere needs no certificate, and no policy is asked.',
  },
  'peers-trusted': {
    category: 'outbound',
    title: 'there is a bundle for every trust domain that is expected',
    hint: 'Add the trust domain’s bundle under `spec.federation`, or mend the SPIFFE ID under `outbound[].peer`.',
  },
  'destinations-resolve': {
    category: 'outbound',
    title: 'the destinations have addresses',
    hint: 'Mend the name under `outbound[].to`, or the resolver of this host.',
  },
  'destinations-identity': {
    category: 'outbound',
    title: 'the destinations prove to be who is expected',
    hint: 'Compare the SPIFFE ID that it showed with `outbound[].peer`, and its issuer with the bundle; see that it runs and lets us in.',
  },
  'peer-resolves': {
    category: 'peer',
    title: 'the peer’s name has an address',
    hint: 'Mend the name, or the resolver of this host.',
  },
  'peer-connects': {
    category: 'peer',
    title: 'the peer takes connections',
    hint: 'See that its sidecar runs and listens there, and that no firewall stands between.',
  },
  'peer-handshake': {
    category: 'peer',
    title: 'a TLS handshake with the peer succeeds',
    hint: 'The detail says which side refused, and why; compare TLS versions, key exchange groups and `protocol` on both.',
  },
  'peer-identity': {
    category: 'peer',
    title: 'the peer is who it should be',
    hint: 'Compare the SPIFFE ID and the issuer that it showed with what this side trusts and expects.',
  },
  'peer-admits': {
    category: 'peer',
    title: 'the peer takes our certificate',
    hint: 'Its records have the refused handshake, with the identity that was shown and the reason code.',
  },
  'cluster-reachable': {
    category: 'cluster',
    title: 'the API server answers, and lets us look',
    hint: 'Set KUBECONFIG to a file whose user may list pods, namespaces, nodes’ leases and the objects of the mesh.',
  },
  'cluster-clock': {
    category: 'cluster',
    title: 'the clocks of this host, of the API server and of the nodes agree',
    hint: 'Have all of them keep time by NTP: certificates begin and end by the clock of the node that their pod runs on.',
  },
  'cluster-resources': {
    category: 'cluster',
    title: 'the custom resources are there, in the version that this program knows',
    hint: 'Apply the output of `postern install` again.',
  },
  'cluster-control-plane': {
    category: 'cluster',
    title: 'authority and controller are running',
    hint: 'Look at `kubectl -n postern-system get pods` and at the events and logs of what is not ready.',
  },
  'cluster-webhook': {
    category: 'cluster',
    title: 'the API server trusts the webhook by the bundle of the mesh',
    hint: 'The controller writes the bundle there: see that it runs, and that nothing else (GitOps) sets `caBundle` back.',
  },
  'cluster-injection': {
    category: 'cluster',
    title: 'a pod that is created gets its sidecar',
    hint: 'The detail is what the API server says to whoever creates a pod; the controller’s log has the rest.',
  },
  'cluster-trust': {
    category: 'cluster',
    title: 'the authorities of the mesh have time left',
    hint: 'Begin a rotation now (`postern ca rotate`): what is below an authority ends with it.',
  },
  'cluster-uninjected': {
    category: 'cluster',
    title: 'every pod of the labelled namespaces has its sidecar',
    hint: 'Pods from before the label are made anew by `kubectl rollout restart`; what is to stay outside gets the label `postern.dev/inject: disabled`.',
  },
  'cluster-behind': {
    category: 'cluster',
    title: 'the sidecars are of the image that is injected now',
    hint: 'Restart their workloads when it suits: `kubectl rollout restart`.',
  },
  'cluster-calls': {
    category: 'cluster',
    title: 'every `postern.dev/calls` of a namespace is a list of namespaces that there are',
    hint: 'Write names with commas between them, as in `kubectl annotate --overwrite namespace shop postern.dev/calls=catalog,mail`.',
  },
  'cluster-policies': {
    category: 'cluster',
    title: 'every policy is accepted, and runs in all sidecars that it concerns',
    hint: 'Mend what a status says is wrong (`kubectl describe policy`); a sidecar that lags says why on `/readyz?verbose`.',
  },
} as const satisfies Record<string, CheckText>

export type CheckId = keyof typeof CHECKS

export interface CheckResult {
  readonly id: CheckId
  readonly status: 'passed' | 'warning' | 'failed' | 'skipped'
  /** What exactly, one sentence each; of a skipped check, why. */
  readonly details: readonly string[]
}

export function passed(id: CheckId, ...details: readonly string[]): CheckResult {
  return { id, status: 'passed', details }
}

/** Passed without details, else `status`. */
export function judged(id: CheckId, details: readonly string[], status: 'warning' | 'failed' = 'failed'): CheckResult {
  return { id, status: details.length === 0 ? 'passed' : status, details }
}

export function skipped(id: CheckId, why: string): CheckResult {
  return { id, status: 'skipped', details: [why] }
}
