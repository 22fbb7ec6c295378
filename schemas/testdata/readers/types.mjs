// Writes the types of JSON Schemas beside this file, each under the name of its schema.
import {writeFileSync} from 'node:fs'
import {basename} from 'node:path'
import {compileFromFile} from 'json-schema-to-typescript'

for (const path of process.argv.slice(2)) {
  writeFileSync(basename(path).replace(/\.json$/, '.d.ts'), await compileFromFile(path))
}
