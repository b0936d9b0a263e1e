/** What every store must do, whichever database is behind it. Each test gets an empty one. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PosternError } from '#base/errors'
import { type Issuance, PURGE_BATCH, type Store } from '#ca/store/store'
import { authority, HOUR, issuance, joinToken, lease, NOW, revocation } from './records.ts'

export interface StoreUnderTest {
  /** Opens the same store again and again, as replicas or after one another. */
  readonly open: () => Promise<Store & { readonly commits: number }>
  readonly dispose: () => Promise<void>
}

export interface ContractOptions {
  /** Makes an empty store. */
  readonly fresh: () => Promise<StoreUnderTest>
  /** Whether two servers may have it open at once. */
  readonly replicas: boolean
  /** Why there is none on this machine. */
  readonly skip?: string | false
}

/** Runs the contract. */
export function testStore(name: string, { fresh, replicas, skip = false }: ContractOptions): void {
  const it = (title: string, run: (under: StoreUnderTest) => Promise<void>): void =>
    void test(`${name}: ${title}`, { skip }, async () => {
      const under = await fresh()
      try {
        await run(under)
      } finally {
        await under.dispose()
      }
    })
  const withStore = (title: string, run: (store: Store & { readonly commits: number }) => Promise<void>): void =>
    it(title, async ({ open }) => {
      await using store = await open()
      await run(store)
    })

  it('what was recorded is there after it is opened again', async ({ open }) => {
    const records = [
      issuance('01'),
      issuance('02', { kind: 'jwt', keyHash: '', attestedBy: 'svid', evidence: 'quotes \' and " and é and \n', notAfter: NOW + 1 }),
    ]
    {
      await using store = await open()
      assert.equal(store.fault, undefined)
      for (const record of records) assert.equal(await store.recordIssuance(record), undefined)
      await store.createJoinToken(joinToken('h1'))
      await store.revoke(revocation('01'))
      await store.changeAuthorities(1, [authority('a1')])
      await store.renewLease(lease('one'))
    }
    await using store = await open()
    assert.deepEqual(await store.issuances({ limit: 10 }), records.toReversed())
    assert.deepEqual(await store.joinToken('h1'), joinToken('h1'))
    assert.deepEqual(await store.revocations(), [revocation('01')])
    assert.deepEqual(await store.authorities(), [authority('a1')])
    assert.deepEqual(await store.leases(NOW), [lease('one')])
    assert.equal(await store.sequence(), 2)
    assert.equal(await store.countIssuances(), 2)
  })

  withStore('issuances that come together share commits', async (store) => {
    const before = store.commits
    await Promise.all(Array.from({ length: 400 }, (_, index) => store.recordIssuance(issuance(`a${index}`))))
    // The first turn's, and what came meanwhile.
    assert.ok(store.commits - before <= 3, `${store.commits - before} commits`)
    assert.equal(await store.countIssuances(), 400)
  })

  withStore('a hundred at once with one token: exactly one gets it', async (store) => {
    await store.createJoinToken(joinToken('once'))
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, index) => store.recordIssuance(issuance(`r${index}`, { issuedAt: NOW + index }), 'once')),
    )
    assert.equal(answers.filter((answer) => answer === undefined).length, 1)
    assert.equal(answers.filter((answer) => answer?.reason === 'ERR_JOIN_TOKEN_USED').length, 99)
    const [winner, ...others] = await store.issuances({ limit: 200 })
    assert.deepEqual(others, [])
    assert.equal((await store.joinToken('once'))?.usedAt, winner?.issuedAt)
  })

  withStore('a token that is used, expired, unknown or for another has its own answer, and nothing is recorded', async (store) => {
    await store.createJoinToken(joinToken('good'))
    await store.createJoinToken(joinToken('late', { expiresAt: NOW }))
    assert.equal(await store.recordIssuance(issuance('1'), 'good'), undefined)
    const rows: readonly (readonly [token: string, reason: string, more?: Partial<Issuance>])[] = [
      ['good', 'ERR_JOIN_TOKEN_USED'],
      ['late', 'ERR_JOIN_TOKEN_EXPIRED'],
      ['never', 'ERR_JOIN_TOKEN_UNKNOWN'],
      ['late', 'ERR_JOIN_TOKEN_UNKNOWN', { spiffeId: 'spiffe://example.org/admin' }],
    ]
    for (const [token, reason, more] of rows) {
      const answer = await store.recordIssuance(issuance(`x${token}`, more), token)
      assert.equal(answer?.reason, reason)
      assert.notEqual(answer.detail, '')
      assert.ok(!answer.detail.includes(token), 'no part of a token in what is recorded')
    }
    assert.equal(await store.countIssuances(), 1)
    assert.equal((await store.joinToken('late'))?.usedAt, 0)
  })

  withStore('tokens, refused ones and plain issuances in one group each get their own answer', async (store) => {
    await Promise.all(['t1', 't2'].map((hash) => store.createJoinToken(joinToken(hash))))
    const answers = await Promise.all([
      store.recordIssuance(issuance('1'), 't1'),
      store.recordIssuance(issuance('2'), 'none'),
      store.recordIssuance(issuance('3')),
      store.recordIssuance(issuance('4'), 't2'),
      store.recordIssuance(issuance('5'), 't1'),
    ])
    assert.deepEqual(
      answers.map((answer) => answer?.reason),
      [undefined, 'ERR_JOIN_TOKEN_UNKNOWN', undefined, undefined, 'ERR_JOIN_TOKEN_USED'],
    )
    assert.deepEqual((await store.issuances({ limit: 9 })).map(({ serial }) => serial).toSorted(), ['1', '3', '4'])
  })

  withStore('a serial that is there already is an error of that one alone, and leaves its token good', async (store) => {
    await store.createJoinToken(joinToken('kept'))
    await store.recordIssuance(issuance('dup'))
    const results = await Promise.allSettled([
      store.recordIssuance(issuance('p')),
      store.recordIssuance(issuance('dup', { evidence: 'another' }), 'kept'),
      store.recordIssuance(issuance('q')),
    ])
    assert.deepEqual(
      results.map(({ status }) => status),
      ['fulfilled', 'rejected', 'fulfilled'],
    )
    assert.ok(results[1]?.status === 'rejected' && results[1].reason instanceof PosternError)
    assert.equal(results[1].reason.code, 'ERR_CA_STORE_CONFLICT')
    assert.equal((await store.joinToken('kept'))?.usedAt, 0)
    assert.equal((await store.issuances({ serial: 'dup', limit: 1 }))[0]?.evidence, 'token ab12…')
    assert.equal(store.fault, undefined, 'the store itself is well')
    await store.createJoinToken(joinToken('twice'))
    await assert.rejects(store.createJoinToken(joinToken('twice')), { code: 'ERR_CA_STORE_CONFLICT' })
  })

  withStore('search is by id, serial and validity, newest first, page by page', async (store) => {
    for (let index = 0; index < 25; index++) {
      const spiffeId = `spiffe://example.org/w${index % 2}`
      await store.recordIssuance(issuance(`s${index}`, { spiffeId, notAfter: NOW + index, issuedAt: NOW + index }))
    }
    const serials = async (query: Parameters<Store['issuances']>[0]): Promise<string[]> =>
      (await store.issuances(query)).map(({ serial }) => serial)
    assert.deepEqual(await serials({ limit: 3 }), ['s24', 's23', 's22'])
    assert.deepEqual(await serials({ limit: 3, before: 's22' }), ['s21', 's20', 's19'])
    assert.deepEqual(await serials({ limit: 9, before: 's1' }), ['s0'])
    assert.deepEqual(await serials({ limit: 9, before: 's0' }), [])
    assert.deepEqual(await serials({ limit: 9, before: 'unknown' }), [])
    assert.deepEqual(await serials({ limit: 2, spiffeId: 'spiffe://example.org/w1' }), ['s23', 's21'])
    assert.deepEqual(await serials({ limit: 2, spiffeId: 'spiffe://example.org/w1', before: 's21' }), ['s19', 's17'])
    assert.deepEqual(await serials({ limit: 9, validAt: NOW + 22 }), ['s24', 's23'])
    assert.deepEqual(await serials({ limit: 9, serial: 's7' }), ['s7'])
    assert.deepEqual(await serials({ limit: 9, serial: "s7' OR 1=1 --" }), [])
    const seen: string[] = []
    for (let before: string | undefined; ; before = seen.at(-1)) {
      const page = await serials({ limit: 4, ...(before !== undefined && { before }) })
      if (page.length === 0) break
      seen.push(...page)
    }
    assert.equal(new Set(seen).size, 25)
  })

  withStore('purging takes what has ended, a batch at a time, and nothing else', async (store) => {
    const ended = PURGE_BATCH + 10
    await Promise.all(Array.from({ length: ended }, (_, index) => store.recordIssuance(issuance(`o${index}`, { notAfter: NOW - 1 }))))
    await store.recordIssuance(issuance('valid'))
    await store.createJoinToken(joinToken('old', { expiresAt: NOW - 1 }))
    await store.createJoinToken(joinToken('new'))
    await store.revoke(revocation('old', { until: NOW - 1 }))
    await store.revoke(revocation('spiffe://example.org/x', { kind: 'id', authority: '', until: Infinity }))
    await store.renewLease(lease('old', { expiresAt: NOW - 1 }))
    const sequence = await store.sequence()
    assert.equal(await store.purge(NOW), PURGE_BATCH)
    assert.equal(await store.purge(NOW), 10)
    assert.equal(await store.purge(NOW), 0)
    assert.deepEqual(
      (await store.issuances({ limit: 9 })).map(({ serial }) => serial),
      ['valid'],
    )
    assert.deepEqual(
      (await store.joinTokens(9)).map(({ hash }) => hash),
      ['new'],
    )
    assert.deepEqual(
      (await store.revocations()).map(({ until }) => until),
      [Infinity],
    )
    assert.deepEqual(await store.leases(0), [])
    assert.equal(await store.sequence(), sequence)
  })

  withStore('join tokens are listed newest first', async (store) => {
    for (const hash of ['h1', 'h2', 'h3']) await store.createJoinToken(joinToken(hash))
    assert.deepEqual(
      (await store.joinTokens(2)).map(({ hash }) => hash),
      ['h3', 'h2'],
    )
    assert.equal(await store.joinToken('absent'), undefined)
  })

  withStore(
    'each revocation raises the sequence; of one that is there reason and end are replaced, and it can be taken back',
    async (store) => {
      const id = { kind: 'id', value: 'spiffe://example.org/x', authority: '' } as const
      assert.equal(await store.sequence(), 0)
      assert.equal(await store.revoke(revocation('01')), 1)
      assert.equal(await store.revoke(revocation('x', { ...id, until: Infinity })), 2)
      assert.equal(await store.revoke(revocation('01', { authority: 'a2' })), 3)
      assert.equal(await store.revoke(revocation('01', { reason: 'stolen', until: NOW + 9 * HOUR, revokedAt: NOW + 5 })), 4)
      assert.deepEqual(await store.revocations(), [
        { ...revocation('x', { ...id, until: Infinity }) },
        revocation('01', { reason: 'stolen', until: NOW + 9 * HOUR }),
        revocation('01', { authority: 'a2' }),
      ])
      assert.equal(await store.withdraw(id), 5)
      assert.equal(await store.withdraw(id), undefined)
      assert.equal(await store.sequence(), 5)
      assert.equal((await store.revocations()).length, 2)
    },
  )

  withStore('authorities change all or nothing, and only on the sequence that was seen', async (store) => {
    assert.equal(await store.changeAuthorities(0, [authority('a1'), authority('a2', { state: 'active', changedAt: NOW + 1 })]), 1)
    assert.equal(await store.changeAuthorities(0, [authority('a1', { state: 'active' })]), undefined)
    const races = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        store.changeAuthorities(1, [authority('a1', { chain: `of ${index}` }), authority(`n${index}`)]),
      ),
    )
    assert.equal(races.filter((sequence) => sequence === 2).length, 1)
    assert.equal(races.filter((sequence) => sequence === undefined).length, 19)
    const winner = races.indexOf(2)
    const found = await store.authorities()
    assert.deepEqual(found.map(({ id }) => id).toSorted(), ['a1', 'a2', `n${winner}`])
    assert.equal(found.find(({ id }) => id === 'a1')?.chain, `of ${winner}`)
    assert.deepEqual(await store.trust(), { sequence: 2, authorities: found, revocations: [] })
  })

  withStore('a lease is renewed, and gone at its end', async (store) => {
    await Promise.all([
      store.renewLease(lease('one')),
      store.renewLease(lease('two')),
      store.renewLease(lease('one', { spiffeId: 'spiffe://x/y' })),
    ])
    await store.renewLease(lease('one', { sequence: 4, expiresAt: NOW + 30_000 }))
    assert.deepEqual(await store.leases(NOW), [
      lease('one', { sequence: 4, expiresAt: NOW + 30_000 }),
      lease('two'),
      lease('one', { spiffeId: 'spiffe://x/y' }),
    ])
    assert.deepEqual(
      (await store.leases(NOW + 15_000)).map(({ instance }) => instance),
      ['one'],
    )
  })

  withStore('one leads at a time, and another turn comes when it is done, also after an error', async (store) => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const first = store.asLeader(() => promise)
    let ran = false
    assert.equal(
      await store.asLeader(async () => {
        ran = true
      }),
      false,
    )
    assert.equal(ran, false)
    resolve()
    assert.equal(await first, true)
    await assert.rejects(
      store.asLeader(async () => {
        throw new Error('of the work')
      }),
      /of the work/,
    )
    assert.equal(await store.asLeader(async () => undefined), true)
  })

  if (!replicas) return
  it('two replicas issue at once: each serial once, each token once, one leader', async ({ open }) => {
    await using first = await open()
    await using second = await open()
    await first.createJoinToken(joinToken('shared'))
    const stores = [first, second]
    const results = await Promise.allSettled(
      stores.flatMap((store) =>
        Array.from({ length: 30 }, (_, index) => store.recordIssuance(issuance(`d${index}`, { evidence: String(stores.indexOf(store)) }))),
      ),
    )
    assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 30)
    assert.equal(await second.countIssuances(), 30)
    const redeemed = await Promise.all(
      stores.flatMap((store, side) =>
        Array.from({ length: 50 }, (_, index) => store.recordIssuance(issuance(`t${side}-${index}`), 'shared')),
      ),
    )
    assert.equal(redeemed.filter((answer) => answer === undefined).length, 1)
    const changed = await Promise.all(stores.flatMap((store) => [1, 2, 3].map((n) => store.changeAuthorities(0, [authority(`a${n}`)]))))
    assert.deepEqual(
      changed.filter((sequence) => sequence !== undefined),
      [1],
    )
    const { promise, resolve } = Promise.withResolvers<void>()
    const { promise: began, resolve: begin } = Promise.withResolvers<void>()
    const leads = first.asLeader(() => {
      begin()
      return promise
    })
    await began
    assert.equal(await second.asLeader(async () => undefined), false)
    resolve()
    assert.equal(await leads, true)
    assert.equal(await second.asLeader(async () => undefined), true)
  })
}
