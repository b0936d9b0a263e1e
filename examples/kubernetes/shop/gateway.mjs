/** Without arguments waits; with a URL calls it once, and prints the answer. */
const [url] = process.argv.slice(2)

if (url === undefined) setInterval(() => {}, 60_000)
else {
  const answer = await fetch(url)
  console.log(`${answer.status} ${await answer.text()}`)
}
