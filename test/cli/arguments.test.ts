import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PosternError } from '#base/errors'
import { parseArguments, type Positionals } from '#cli/arguments'

const OPTIONS = {
  config: { type: 'string', short: 'c' },
  check: { type: 'boolean' },
  header: { type: 'string', multiple: true },
} as const

test('options and positional arguments are given back typed', () => {
  const { values, positionals } = parseArguments(['--config', 'a.yaml', '--header', 'a: b', '--header=c: d', 'x', '--', '-y'], OPTIONS, {
    name: 'FILE…',
  })
  assert.equal(values.config, 'a.yaml')
  assert.equal(values.check, undefined)
  assert.deepEqual(values.header, ['a: b', 'c: d'])
  assert.deepEqual(positionals, ['x', '-y'])
})

const WRONG: readonly (readonly [string, readonly string[], Positionals | undefined, string])[] = [
  [
    'an unknown option is an error with a suggestion',
    ['--confg', 'x'],
    undefined,
    'there is no option `--confg`. Did you mean `--config`?',
  ],
  ['an unknown option far from any has no suggestion', ['--zzzzzzzz'], undefined, 'there is no option `--zzzzzzzz`.'],
  ['an unknown short option is an error', ['-q'], undefined, 'there is no option `-q`.'],
  ['an option without its value is an error', ['--config'], undefined, '`--config` needs a value.'],
  [
    'a value that looks like an option is an error',
    ['--config', '--check'],
    undefined,
    'the value of `--config` begins with a dash: write `--config=-…` if that is meant.',
  ],
  ['a flag with a value is an error', ['--check=yes'], undefined, '`--check` takes no value.'],
  ['an argument is an error where none is taken', ['x'], undefined, 'unexpected argument `x`: this command takes only options.'],
  ['too few arguments are an error', [], { name: 'FILE…', min: 1 }, 'FILE… is missing.'],
  ['too many arguments are an error', ['a', 'b'], { name: 'ID', max: 1 }, 'unexpected argument `b` after ID.'],
]

for (const [title, args, positionals, message] of WRONG) {
  test(title, () => {
    assert.throws(
      () => parseArguments(args, OPTIONS, positionals),
      (error) => error instanceof PosternError && error.code === 'ERR_USAGE' && error.message === message,
    )
  })
}
