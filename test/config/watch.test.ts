/** The file watch: every way in which files change in the field is reported, and nothing else is. */
import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { systemClock } from '#base/clock'
import { digestOf } from '#config/files'
import { createFileWatch, type FileWatch } from '#config/watch'

interface Watched {
  readonly folder: string
  readonly watch: FileWatch
  readonly path: (name: string) => string
  /** Resolves with the next report. */
  readonly changed: () => Promise<unknown>
  readonly reports: () => number
}

/** A folder with `files`, watched through `roots`. */
function watched(t: TestContext, files: Readonly<Record<string, string>>, roots: readonly string[], interval = 40): Watched {
  const folder = mkdtempSync(join(tmpdir(), 'postern-watch-'))
  const path = (name: string): string => join(folder, name)
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(path(name), '..'), { recursive: true })
    writeFileSync(path(name), content)
  }
  const events = new EventEmitter()
  let reports = 0
  const watch = createFileWatch({
    clock: systemClock,
    interval,
    onChange: () => {
      reports++
      events.emit('change')
    },
  })
  t.after(() => {
    watch.close()
    rmSync(folder, { recursive: true, force: true })
  })
  watch.expect(roots.map(path), new Map(Object.entries(files).map(([name, content]) => [path(name), digestOf(Buffer.from(content))])))
  return { folder, watch, path, changed: () => once(events, 'change', { signal: AbortSignal.timeout(5_000) }), reports: () => reports }
}

const changes: readonly (readonly [string, (path: (name: string) => string) => void])[] = [
  ['is written in place', (path) => writeFileSync(path('p/a.yaml'), 'b')],
  [
    'is replaced by a rename',
    (path) => {
      writeFileSync(path('p/.a.yaml.tmp'), 'b')
      renameSync(path('p/.a.yaml.tmp'), path('p/a.yaml'))
    },
  ],
  ['is deleted', (path) => unlinkSync(path('p/a.yaml'))],
  [
    'is deleted and made again with other content',
    (path) => {
      unlinkSync(path('p/a.yaml'))
      writeFileSync(path('p/a.yaml'), 'b')
    },
  ],
  [
    'changes to content of the same length under the same timestamps',
    (path) => {
      writeFileSync(path('p/a.yaml'), 'b')
      utimesSync(path('p/a.yaml'), 1, 1)
    },
  ],
  ['vanishes with its folder', (path) => rmSync(path('p'), { recursive: true })],
]
for (const [what, change] of changes) {
  for (const root of ['p', 'p/a.yaml']) {
    test(`a file that ${what} is reported, watched as ${root === 'p' ? 'part of a folder' : 'itself'}`, async (t) => {
      const { path, changed } = watched(t, { 'p/a.yaml': 'a' }, [root])
      const report = changed()
      change(path)
      await report
    })
  }
}

test('a new file in a watched folder, and in a folder in it, is reported', async (t) => {
  const { path, changed, watch, folder } = watched(t, { 'p/a.yaml': 'a' }, ['p'])
  let report = changed()
  writeFileSync(path('p/b.yaml'), 'b')
  await report
  watch.expect(
    [join(folder, 'p')],
    new Map(
      [
        ['a', 'a'],
        ['b', 'b'],
      ].map(([name = '', content = '']) => [path(`p/${name}.yaml`), digestOf(Buffer.from(content))]),
    ),
  )
  report = changed()
  mkdirSync(path('p/sub'))
  writeFileSync(path('p/sub/c.yaml'), 'c')
  await report
})

test('a folder that is deleted and made again is watched on', async (t) => {
  const { path, changed, watch, folder } = watched(t, { 'p/a.yaml': 'a' }, ['p'])
  let report = changed()
  rmSync(path('p'), { recursive: true })
  await report
  watch.expect([join(folder, 'p')], new Map([[path('p'), '!ENOENT']]))
  report = changed()
  mkdirSync(path('p'))
  writeFileSync(path('p/a.yaml'), 'a')
  await report
})

test('the swap of ..data by which Kubernetes updates a volume is reported', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'postern-watch-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const version = (name: string, content: string): void => {
    mkdirSync(join(folder, name))
    writeFileSync(join(folder, name, 'svid.pem'), content)
  }
  version('..2026_01', 'one')
  symlinkSync('..2026_01', join(folder, '..data'))
  symlinkSync('..data/svid.pem', join(folder, 'svid.pem'))
  const events = new EventEmitter()
  const watch = createFileWatch({ clock: systemClock, onChange: () => events.emit('change') })
  t.after(() => watch.close())
  const svid = join(folder, 'svid.pem')
  watch.expect([svid], new Map([[svid, digestOf(Buffer.from('one'))]]))
  const report = once(events, 'change', { signal: AbortSignal.timeout(5_000) })
  version('..2026_02', 'two')
  symlinkSync('..2026_02', join(folder, '..data_tmp'))
  const begun = performance.now()
  renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
  rmSync(join(folder, '..2026_01'), { recursive: true })
  await report
  t.diagnostic(`seen after ${(performance.now() - begun).toFixed(0)} ms`)
})

test('a change between reading and watching is reported', async (t) => {
  const { path, watch, changed } = watched(t, { 'a.yaml': 'new' }, ['a.yaml'])
  const report = changed()
  watch.expect([path('a.yaml')], new Map([[path('a.yaml'), digestOf(Buffer.from('old'))]]))
  await report
})

test('a change that was reported is not reported again until something else changes', async (t) => {
  const { path, changed, reports } = watched(t, { 'a.yaml': 'a', 'b.yaml': 'b' }, ['a.yaml', 'b.yaml'], 5)
  let report = changed()
  writeFileSync(path('a.yaml'), 'x')
  await report
  report = changed()
  writeFileSync(path('b.yaml'), 'y')
  await report
  assert.equal(reports(), 2)
})

test('touching a file, and files of other kinds, are not reported', async (t) => {
  const { path, changed, reports } = watched(t, { 'p/a.yaml': 'a', 'p/b.yaml': 'b' }, ['p'], 5)
  utimesSync(path('p/a.yaml'), new Date(), new Date())
  writeFileSync(path('p/a.yaml'), 'a')
  writeFileSync(path('p/note.txt'), 'x')
  writeFileSync(path('p/.hidden.yaml'), 'x')
  const report = changed()
  // What comes after is reported once: had the above been reported, there would be two.
  await new Promise((resolve) => void setImmediate(resolve))
  writeFileSync(path('p/b.yaml'), 'c')
  await report
  assert.equal(reports(), 1)
})

test('a folder in which something else happens all the time is read nevertheless', async (t) => {
  const { path, changed } = watched(t, { 'a.yaml': 'a' }, ['a.yaml'], 60_000)
  const noise = setInterval(() => writeFileSync(path('noise'), String(performance.now())), 5)
  t.after(() => clearInterval(noise))
  const report = changed()
  writeFileSync(path('a.yaml'), 'b')
  await report
})

test('nothing is reported after close', async (t) => {
  const { path, watch, reports } = watched(t, { 'a.yaml': 'a' }, ['a.yaml'], 5)
  watch.close()
  const second = watched(t, { 'a.yaml': 'a' }, ['a.yaml'], 5)
  const report = second.changed()
  writeFileSync(path('a.yaml'), 'b')
  writeFileSync(second.path('a.yaml'), 'b')
  await report
  assert.equal(reports(), 0)
})
