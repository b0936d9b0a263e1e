/** The one file of prom-client that is used, which comes without types of its own. */
declare module 'prom-client/lib/registry.js' {
  export { Registry as default } from 'prom-client'
}
