/** The middle of some figures; the mean of the two in the middle where their number is even. @throws TypeError for none */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const upper = sorted[sorted.length >> 1]
  const lower = sorted[(sorted.length - 1) >> 1]
  if (upper === undefined || lower === undefined) throw new TypeError('The median of nothing was asked for.')
  return (upper + lower) / 2
}
