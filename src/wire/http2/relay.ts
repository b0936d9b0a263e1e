/**
 * A whole proxied HTTP/2 connection without sockets: one caller, and every stream decided before an upstream hears of it.
 *
 *   caller ── server codec ── head ──→ onRequest ──→ forward ──→ link ── upstream
 *                 │                       └──→ refuse: answered here, the upstream never knows
 *                 └ malformed: RST_STREAM(PROTOCOL_ERROR)
 *
 * With one upstream of its own, windows reach through. What the upstream takes is what the caller may send, and the other way round:
 * each credit is passed on, so that nothing is stored here. What never reaches the other side (padding, data of dead streams) is
 * credited back where it came from. What does wait is bounded by windows given before: bodies of requests not yet decided, and the
 * moments in which settings change.
 *
 * Over links that relays share, every window is our own: bytes are credited to a connection as they come, and to a stream once they
 * have left for the other side. What waits is bounded by the windows of streams, and no stream can hold up another
 * (docs/decisions/0005-windows-of-our-own-toward-many-links.md).
 */
import { CallerRelay } from './relay-caller.ts'
import type { Http2CallerHandler, Http2Relay, Http2RelayHandler, Http2RelayOptions, LinkedRelay } from './relay-contract.ts'
import { RelayLink } from './relay-link.ts'
import { CALLER_WINDOW } from './relay-windows.ts'

/** What one stream can have on its way to us, whatever the upstream would take: it may have to be held. */
const LARGEST_HELD = 262_144

/** One caller and one upstream. */
export function createHttp2Relay<C>(options: Http2RelayOptions, handler: Http2RelayHandler<C>): Http2Relay<C> {
  const upstream = new RelayLink<C>(
    { ...options, headBytes: options.limits.bytes },
    {
      ownWindows: false,
      onCredit: (increment) => relay.upstreamTakes(increment),
      onSettings: ({ initialWindow, maxConcurrentStreams }) =>
        relay.announce({
          initialWindow: Math.min(initialWindow, LARGEST_HELD),
          streams: Math.min(maxConcurrentStreams, options.limits.streams),
        }),
      onGoaway: () => relay.leave(),
      onFault(fault) {
        relay.upstreamClosed('ERR_HTTP2_UPSTREAM_PROTOCOL', `${fault.reason}: ${fault.detail}`)
        handler.onUpstreamFault(fault)
      },
      onRoom: undefined,
      onOutput: undefined,
    },
  )
  const relay = new CallerRelay<C>(options, handler, upstream)
  return relay
}

/** One caller, whose exchanges are forwarded to links. */
export function createLinkedRelay<C>(options: Http2RelayOptions, handler: Http2CallerHandler<C>): LinkedRelay<C> {
  return new CallerRelay({ creditFrom: CALLER_WINDOW / 4, ...options }, handler, undefined)
}
