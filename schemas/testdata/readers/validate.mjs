// Decides deliveries, {"schema", "value"} a line, by ajv in its strict mode, and prints true or false for each.
import {readFileSync} from 'node:fs'
import Ajv from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'

const ajv = addFormats(new Ajv.default({strict: true, allErrors: true}))
const validators = {}
for (const line of readFileSync(0, 'utf8').trimEnd().split('\n')) {
  const {schema, value} = JSON.parse(line)
  validators[schema] ??= ajv.compile(JSON.parse(readFileSync(`${process.argv[2]}/${schema}.json`, 'utf8')))
  console.log(validators[schema](JSON.parse(value)))
}
