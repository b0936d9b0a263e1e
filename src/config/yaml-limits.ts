/** How large a document may be; apart from the reader, so that knowing it does not load `yaml`. */

/** Bytes of one file, and UTF-16 units of its text; 10,000 rules take about 3 MiB. */
export const MAX_DOCUMENT_LENGTH = 16 * 1024 * 1024
/** Levels of lists and maps; a policy needs eight. */
export const MAX_DOCUMENT_DEPTH = 64
