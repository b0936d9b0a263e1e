/** Requests at a steady pace over loopback, each on whichever kept connection is free: what a service does all day. */
import { Agent, request } from 'node:http'

export interface SteadyCalls {
  readonly answered: number
  /** What was not answered with 200, and how. */
  readonly failures: readonly string[]
}

export interface Pace {
  /** Ms between two requests. */
  readonly every: number
  /** Ms. */
  readonly for: number
}

export interface Traffic extends AsyncDisposable {
  /** Ends it, and resolves when the last answer is there. */
  stop(): Promise<SteadyCalls>
}

export async function steadyCalls(port: number, { every, for: length }: Pace): Promise<SteadyCalls> {
  const traffic = beginCalls(port, every)
  await new Promise((resolve) => setTimeout(resolve, length))
  return traffic.stop()
}

export function beginCalls(port: number, every: number): Traffic {
  const agent = new Agent({ keepAlive: true })
  const failures: string[] = []
  const under = new Set<Promise<void>>()
  let answered = 0

  function once(): void {
    const { promise, resolve } = Promise.withResolvers<void>()
    const at = new Date().toISOString()
    const asked = request({ host: '127.0.0.1', port, path: '/', agent }, (response) => {
      response.resume()
      response.on('end', () => {
        if (response.statusCode === 200) answered++
        else failures.push(`${at}: ${response.statusCode}`)
        resolve()
      })
      response.on('error', (error) => {
        failures.push(`${at}: ${error.message}`)
        resolve()
      })
    })
    asked.on('error', (error) => {
      failures.push(`${at}: ${error.message}`)
      resolve()
    })
    asked.end()
    under.add(promise)
    void promise.then(() => under.delete(promise))
  }

  const timer = setInterval(once, every)
  async function stop(): Promise<SteadyCalls> {
    clearInterval(timer)
    await Promise.all(under)
    agent.destroy()
    return { answered, failures }
  }
  return { stop, [Symbol.asyncDispose]: async () => void (await stop()) }
}
