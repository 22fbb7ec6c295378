// Prints of each AsyncAPI document what its parser has against it, a line each, and then what it holds.
import {Parser, fromFile} from '@asyncapi/parser'

const severities = ['error', 'warning', 'information', 'hint']
for (const path of process.argv.slice(2)) {
  const {document, diagnostics} = await fromFile(new Parser(), path).parse()
  for (const d of diagnostics) console.log(`${severities[d.severity]} ${d.code} at ${d.path.join('.')}: ${d.message}`)
  const operations = document?.operations()
  console.log(`servers ${document?.servers().length}, sends ${operations?.filterBySend().length}, receives ${operations?.filterByReceive().length}`)
}
