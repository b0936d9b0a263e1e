/** A last net under what is shown to operators: values that look like secrets are left out, wherever they stand. */

const HIDDEN = '(not shown)'
const LONGEST = 4096
const DEEPEST = 32
const SECRET_KEY =
  /^(key_?pem|private_?key|secret|client_?secret|password|passphrase|authorization|proxy-authorization|cookie|set-cookie)$/i
/** PEM of a private key; a JWT with its signature; a password in a URL. */
const SECRET_TEXT = /-----BEGIN [A-Z ]*PRIVATE KEY-----|\beyJ[\w-]{8,}\.[\w-]+\.[\w-]{8,}|:\/\/[^\s/:@]+:[^\s/@]+@/
/** Criteria of an explanation about headers and query values that hold credentials as a rule. */
const SECRET_CRITERION = /^(header|query)\/.*(authorization|cookie|token|secret|password|api[-_]?key|signature)/i

/** A copy of a plain value for JSON. */
export function withoutSecrets(value: unknown, depth = 0): unknown {
  if (typeof value === 'string') return SECRET_TEXT.test(value) ? HIDDEN : value.slice(0, LONGEST)
  if (typeof value !== 'object' || value === null) return value
  if (depth === DEEPEST) return HIDDEN
  if (Array.isArray(value)) return value.map((item) => withoutSecrets(item, depth + 1))
  const about = (value as { readonly name?: unknown }).name
  const hidesActual = typeof about === 'string' && SECRET_CRITERION.test(about)
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => {
      const hidden = typeof item === 'string' && (SECRET_KEY.test(key) || (hidesActual && (key === 'actual' || key === 'hint')))
      return [key, hidden ? HIDDEN : withoutSecrets(item, depth + 1)]
    }),
  )
}
