/** What is asked, whichever protocol asked it: the value that every stage of the request path works on. */
import type { HeaderList } from './header-list.ts'

export interface RequestHead {
  /** As sent; a token. */
  readonly method: string
  /** The request target as sent. */
  readonly target: string
  /** The path of the target as sent, of absolute form too; `*` for `OPTIONS *`. Not canonical yet: `canonicalPath` makes it so. */
  readonly path: string
  /** What follows the first `?`, as sent; undefined if there is none. */
  readonly query: string | undefined
  /** The authority as sent: of the target where it has one, else Host; `''` for HTTP/1.0 without either. */
  readonly authority: string
  readonly headers: HeaderList
}
